//! Finds the paths that Rust source names, as far as the layering rules need: `use` trees written out, and paths in code. Comments, texts
//! and modules for tests only are left out.

/// A piece of source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Mark(char),
}

/// Returns every path in `text` of two parts or more, and everything that is imported.
pub fn of(text: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(text));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // `use<'a>` in a type is no import.
        if word(&tokens, at) == Some("use") && tokens.get(at + 1) != Some(&Token::Mark('<')) {
            at += 1;
            tree(&tokens, &mut at, &[], &mut found);
        } else if word(&tokens, at) == Some("crate") && at > 0 && word(&tokens, at - 1) == Some("extern") {
            found.extend(word(&tokens, at + 1).map(str::to_owned));
            at += 2;
        } else if let Some(first) = word(&tokens, at) {
            let mut parts = vec![first.to_owned()];
            at += 1;
            while tokens.get(at) == Some(&Token::Colons)
                && let Some(next) = word(&tokens, at + 1)
            {
                parts.push(next.to_owned());
                at += 2;
            }
            if parts.len() > 1 {
                found.push(parts.join("::"));
            }
        } else {
            at += 1;
        }
    }
    found
}

fn word(tokens: &[Token], at: usize) -> Option<&str> {
    match tokens.get(at) {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

/// Reads one branch of a `use` tree behind `prefix`, up to the `,`, `}` or `;` that ends it.
fn tree(tokens: &[Token], at: &mut usize, prefix: &[String], found: &mut Vec<String>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Word(word) if word == "as" => *at += 1,
            Token::Word(word) => path.extend((word != "self" || path.is_empty()).then(|| word.clone())),
            Token::Mark('{') => {
                *at += 1;
                while !matches!(tokens.get(*at), None | Some(Token::Mark('}' | ';'))) {
                    tree(tokens, at, &path, found);
                    *at += usize::from(tokens.get(*at) == Some(&Token::Mark(',')));
                }
                *at += 1;
                return;
            }
            Token::Mark(',' | '}' | ';') => break,
            Token::Colons | Token::Mark(_) => {}
        }
        *at += 1;
    }
    if path.len() > prefix.len() || !prefix.is_empty() {
        found.push(path.join("::"));
    }
}

/// Leaves out `#[cfg(test)] mod name { … }`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let head: Vec<Token> = self::tokens("#[cfg(test)]");
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut after = at + head.len();
        if tokens[at..].starts_with(&head) {
            after += usize::from(word(tokens, after) == Some("pub"));
            if word(tokens, after) == Some("mod") && tokens.get(after + 2) == Some(&Token::Mark('{')) {
                at = behind_braces(tokens, after + 2);
                continue;
            }
        }
        out.push(tokens[at].clone());
        at += 1;
    }
    out
}

fn behind_braces(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied());
        if c == '/' && next == Some('/') {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if c == '/' && next == Some('*') {
            at = behind_comment(&chars, at);
        } else if let Some(end) = behind_text(&chars, at) {
            at = end;
        } else if c.is_alphabetic() || c == '_' {
            let word: String = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += word.chars().count();
            out.push(Token::Word(word));
        } else if c == ':' && next == Some(':') {
            out.push(Token::Colons);
            at += 2;
        } else {
            if !c.is_whitespace() {
                out.push(Token::Mark(c));
            }
            at += 1;
        }
    }
    out
}

fn behind_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns where the text or character literal that starts at `at` ends; `None` if none starts there.
fn behind_text(chars: &[char], at: usize) -> Option<usize> {
    let mut start = at;
    while start < chars.len() && start - at < 2 && matches!(chars[start], 'b' | 'c' | 'r') {
        start += 1;
    }
    let raw = chars[at..start].contains(&'r');
    let hashes = if raw { chars[start..].iter().take_while(|c| **c == '#').count() } else { 0 };
    match chars.get(start + hashes)? {
        '"' if raw => {
            let ending: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = start + hashes + 1;
            let length = chars[body..].windows(ending.len()).position(|window| window == ending)?;
            Some(body + length + ending.len())
        }
        '"' => Some(closing(chars, start + 1, '"')),
        '\'' if chars.get(start + 1) == Some(&'\\') => Some(closing(chars, start + 1, '\'')),
        // A lifetime has no quote behind its first character.
        '\'' if chars.get(start + 2) == Some(&'\'') => Some(start + 3),
        _ => None,
    }
}

fn closing(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

#[test]
fn use_trees_are_written_out() {
    assert_eq!(
        of("use a::{b, c::{self, d as e}, *}; pub(crate) use crate::x; fn f() { g::h::<T>(i::j) }"),
        ["a::b", "a::c", "a::c::d", "a::*", "crate::x", "g::h", "i::j"].map(|path| path.trim_end_matches("::*"))
    );
}

#[test]
fn a_use_that_is_no_import_ends_all_the_same() {
    assert_eq!(of("fn f() -> impl I + use<'_> { a::b(); }"), ["a::b"]);
    assert_eq!(of("use a { b; c }"), ["a::b"]);
}
