//! Bytes as people write and read them: as text where they are text, otherwise `hex:` and digits.

use std::fmt;

/// What precedes hexadecimal digits.
const HEX: &str = "hex:";
/// Characters, and bytes in hexadecimal digits, that are shown of long ones.
const SHOWN_CHARS: usize = 80;
const SHOWN_BYTES: usize = 32;

/// A line that is neither text nor hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} begins with `{HEX}`, and what follows is not pairs of hexadecimal digits")]
pub struct BadLine(pub usize);

/// One command per line: its text, or the bytes of `hex:` and digits. Empty lines are left out; the
/// command without any bytes is `hex:`.
pub(super) fn parse_lines(file: &[u8]) -> Result<Vec<Vec<u8>>, BadLine> {
    let mut commands = Vec::new();
    for (number, line) in file.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.strip_prefix(HEX.as_bytes()) {
            Some(digits) => {
                commands.push(parse_hex(digits.trim_ascii()).ok_or(BadLine(number + 1))?);
            }
            None if line.is_empty() => {}
            None => commands.push(line.to_vec()),
        }
    }
    Ok(commands)
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? * 16 + digit(low)?) as u8))
        .collect()
}

/// Shows bytes on one line, the way [`parse_lines`] reads them, shortened when they are many.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let text = str::from_utf8(bytes).ok().filter(|text| {
            !text.is_empty() && !text.starts_with(HEX) && !text.contains(char::is_control)
        });
        let cut = match text {
            Some(text) => {
                let end = text.char_indices().nth(SHOWN_CHARS).map(|(at, _)| at);
                f.write_str(&text[..end.unwrap_or(text.len())])?;
                end.is_some()
            }
            None => {
                f.write_str(HEX)?;
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                shown.len() < bytes.len()
            }
        };
        if cut {
            write!(f, "... ({} bytes)", bytes.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Shown(bytes).to_string()
    }

    #[test]
    fn lines_are_text_or_hexadecimal_digits() {
        let file = b"{\"open\":1}\r\n\nhex:00fF \nhex:\n  two words\n\xff";
        let commands: [&[u8]; 5] = [b"{\"open\":1}", b"\0\xff", b"", b"  two words", b"\xff"];
        assert_eq!(parse_lines(file), Ok(commands.map(<[u8]>::to_vec).to_vec()));
        assert_eq!(parse_lines(b""), Ok(Vec::new()));
    }

    #[test]
    fn a_line_that_is_not_hexadecimal_is_named() {
        for line in ["hex:0", "hex:0g", "hex:0x00"] {
            let file = format!("add\n\n{line}\n");
            assert_eq!(parse_lines(file.as_bytes()), Err(BadLine(3)), "{line}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for bytes in [&b"add 1"[..], b"", b"hex:00", b"\x00\xff", b"two\nlines"] {
            assert_eq!(
                parse_lines(shown(bytes).as_bytes()),
                Ok(vec![bytes.to_vec()])
            );
        }
    }

    #[test]
    fn what_is_long_is_shortened_with_its_size() {
        let text = shown("é".repeat(1000).as_bytes());
        assert_eq!(text, format!("{}... (2000 bytes)", "é".repeat(80)));
        let digits = shown(&[0; 33]);
        assert_eq!(digits, format!("hex:{}... (33 bytes)", "00".repeat(32)));
    }
}
