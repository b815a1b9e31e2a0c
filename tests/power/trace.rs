//! What a process did to its files: its system calls, as `strace` wrote them down.

use std::collections::HashMap;

/// The calls that change files, make them durable, or say where the next write goes. Whatever else could change a file is listed too, so that
/// it is refused and not overlooked.
pub const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,fsync,fdatasync,\
    sync_file_range,syncfs,sync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,link,linkat,chmod,fchmod,\
    fchmodat,?fchmodat2,copy_file_range,sendfile,splice,ioctl,mmap";

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// A text or buffer.
    Bytes(Vec<u8>),
    /// The texts or buffers of a list or structure.
    Many(Vec<Vec<u8>>),
    /// A descriptor and what it stood for when the call began; `None` when that has no name any more.
    Fd(i64, Option<Vec<u8>>),
    /// Anything else, as written.
    Word(String),
}

/// A call that succeeded.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// What it returned.
    pub returned: i64,
    /// How many calls had ended when it began.
    pub begun: usize,
    /// When it was noted, microseconds since 1970.
    pub micros: u64,
}

impl Call {
    /// The number that argument `place` is, in decimal, octal or hexadecimal.
    pub fn number(&self, place: usize) -> u64 {
        let Some(Arg::Word(word)) = self.args.get(place) else { panic!("no number: {self:?}") };
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None if word.len() > 1 && word.starts_with('0') => u64::from_str_radix(word, 8),
            None => word.parse(),
        };
        parsed.unwrap_or_else(|_| panic!("no number: {self:?}"))
    }

    /// Says whether argument `place`, a set of flags, has `flag`.
    pub fn has(&self, place: usize, flag: &str) -> bool {
        matches!(self.args.get(place), Some(Arg::Word(word)) if word.split('|').any(|part| part == flag))
    }

    /// The bytes that argument `place` holds, all buffers joined.
    pub fn bytes(&self, place: usize) -> Vec<u8> {
        match self.args.get(place) {
            Some(Arg::Bytes(bytes)) => bytes.clone(),
            Some(Arg::Many(many)) => many.concat(),
            _ => panic!("no bytes: {self:?}"),
        }
    }
}

/// Reads what `strace -f -y -ttt -xx` wrote: the calls that succeeded, in the order in which they ended.
pub fn calls(text: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (String, usize)> = HashMap::new();
    let mut ended = Vec::new();
    for line in text.lines() {
        let (task, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no task: {line:.80}"));
        let (time, rest) = rest.trim_start().split_once(' ').unwrap_or_else(|| panic!("no time: {line:.80}"));
        if rest.starts_with("+++") || rest.starts_with("---") || rest.contains("<detached") {
            continue;
        }
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(task, (start.trim_end().to_owned(), ended.len()));
            continue;
        }
        let (whole, since) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => {
                let Some((start, since)) = begun.remove(task) else { continue };
                (start + end, since)
            }
            None => (rest.to_owned(), ended.len()),
        };
        if let Some((name, args, returned)) = parse(&whole) {
            ended.push(Call { name, args, returned, begun: since, micros: micros(time) });
        }
    }
    ended
}

fn micros(time: &str) -> u64 {
    let (seconds, fraction) = time.split_once('.').expect("seconds with six digits behind the point");
    seconds.parse::<u64>().expect("seconds") * 1_000_000 + fraction.parse::<u64>().expect("microseconds")
}

/// Takes `name(args) = returned` apart; `None` for a call that failed or whose end nobody saw.
fn parse(whole: &str) -> Option<(String, Vec<Arg>, i64)> {
    let (head, tail) = whole.rsplit_once(" = ")?;
    let returned: i64 = match tail.split(['<', ' ']).next()? {
        hex if hex.starts_with("0x") => i64::from_str_radix(&hex[2..], 16).ok()?,
        number => number.parse().ok()?,
    };
    let head = head.trim_end().strip_suffix(')')?;
    let (name, args) = head.split_once('(')?;
    (returned >= 0).then(|| (name.to_owned(), split(args).into_iter().map(arg).collect(), returned))
}

/// Splits arguments at the commas that stand in no bracket; texts hold only `\x` codes.
fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, byte) in args.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(args[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(args[from..].trim());
    parts
}

fn arg(text: &str) -> Arg {
    if text.starts_with('"') {
        return Arg::Bytes(text_of(text));
    }
    if text.starts_with(['[', '{']) {
        return Arg::Many(text.split('"').skip(1).step_by(2).map(unhex).collect());
    }
    if let Some((number, name)) = text.split_once('<') {
        let fd = number.parse().unwrap_or(-1);
        let (name, end) = name.rsplit_once('>').unwrap_or_else(|| panic!("no end: {text}"));
        return Arg::Fd(fd, end.is_empty().then(|| unhex(name)));
    }
    Arg::Word(text.to_owned())
}

fn text_of(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    unhex(inner.unwrap_or_else(|| panic!("cut short: {text:.80}")))
}

fn unhex(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).expect("a digit")).expect("small");
    let code = |code: &[u8]| match code {
        [b'\\', b'x', high, low] => digit(*high) << 4 | digit(*low),
        _ => panic!("no code: {}", String::from_utf8_lossy(code)),
    };
    text.as_bytes().chunks(4).map(code).collect()
}

#[test]
fn calls_are_read_in_the_order_of_their_ends() {
    let text = concat!(
        "7 1.000001 openat(AT_FDCWD<\\x2f>, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0600) = 3<\\x2f\\x61>\n",
        "7 1.000002 pwrite64(3<\\x2f\\x61>, \"\\x01\\x02\", 2, 512 <unfinished ...>\n",
        "8 1.000003 fsync(3<\\x2f\\x61>) = 0\n",
        "7 1.000004 <... pwrite64 resumed>) = 2\n",
        "8 1.000005 unlink(\"\\x2f\\x62\") = -1 ENOENT (No such file or directory)\n",
        "8 1.000006 writev(4<\\x2f\\x63>(deleted), [{iov_base=\"\\x05\", iov_len=1}, {iov_base=\"\\x06\", iov_len=1}], 2) = 2\n",
        "7 1.000007 +++ exited with 0 +++\n",
    );
    let read = calls(text);
    let short: Vec<_> = read.iter().map(|call| (call.name.as_str(), call.returned, call.begun, call.micros)).collect();
    assert_eq!(
        short,
        [("openat", 3, 0, 1_000_001), ("fsync", 0, 1, 1_000_003), ("pwrite64", 2, 1, 1_000_004), ("writev", 2, 3, 1_000_006)]
    );
    assert_eq!(read[0].args[0], Arg::Fd(-1, Some(b"/".to_vec())));
    assert!(read[0].has(2, "O_CREAT") && !read[0].has(2, "O_TRUNC"));
    assert_eq!((read[0].number(3), read[2].bytes(1), read[2].number(3)), (0o600, vec![1, 2], 512));
    assert_eq!((&read[3].args[0], read[3].bytes(1)), (&Arg::Fd(4, None), vec![5, 6]));
}
