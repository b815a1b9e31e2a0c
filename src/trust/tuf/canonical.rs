//! Canonical JSON (OLPC): the one form of a value that signatures are made over.
//!
//! No white space, object keys in byte order, integers only, and in strings nothing is escaped but `"` and `\`. Two values have the same form only if
//! they are the same, so a value whose form is signed is itself what was signed. Strings are taken as they are: Unicode normalization would give
//! different names the same form.

use serde_json::Value;

use crate::trust::error::{Error, Result};

/// Writes the canonical form of `value`, which is of `file`.
pub(super) fn canonical(file: &str, value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write(file, value, &mut out)?;
    Ok(out)
}

/// Recurses as deep as the JSON parser let the value become (128).
fn write(file: &str, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::Number(number) if number.is_f64() => return Err(Error::malformed(file, format!("{number} is no integer"))),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                separate(n, out);
                write(file, item, out)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (n, (name, item)) in fields.into_iter().enumerate() {
                separate(n, out);
                write_text(name, out);
                out.push(b':');
                write(file, item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn separate(n: usize, out: &mut Vec<u8>) {
    if n > 0 {
        out.push(b',');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        out.extend_from_slice(&[b'\\', special.as_bytes()[0]]);
        rest = &special[1..];
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_is_the_one_of_the_specification() {
        let value = json!({"b": [1, -2, true, null, "x\"\\\n\u{e9}"], "a": {}, "B": [], "ab": u64::MAX});
        let wanted = "{\"B\":[],\"a\":{},\"ab\":18446744073709551615,\"b\":[1,-2,true,null,\"x\\\"\\\\\n\u{e9}\"]}";
        assert_eq!(String::from_utf8(canonical("t", &value).unwrap()).unwrap(), wanted);
    }

    #[test]
    fn fractions_have_no_form() {
        assert!(canonical("t", &json!({"a": 1.5})).is_err());
        assert!(canonical("t", &json!(1e3)).is_err());
    }
}
