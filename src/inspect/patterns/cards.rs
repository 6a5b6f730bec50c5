//! Numbers of payment cards: 13 to 19 digits that an issuer could have given (ISO/IEC 7812), with a valid check digit (Luhn).
//!
//! Written as one group of digits, or in the groups in which cards show them, all divided by a blank or all by a dash. Digits that stand
//! beside another digit or a letter, or behind a point, are a part of something else.

/// Longest match: 19 digits in five groups.
pub const LONGEST: usize = 23;

/// Fewest digits; also the fewest bytes of a match.
const FEWEST: usize = 13;
/// Most digits.
const MOST: usize = 19;

/// Groups in which numbers are written; of those that begin alike the longer first.
const GROUPS: [&[u8]; 5] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 1]];

/// A number found: its place, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Position of the first digit.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
    /// Index in [`SCHEMES`].
    pub scheme: usize,
}

/// Names of the card schemes.
pub const SCHEMES: [&str; 8] = ["visa", "mastercard", "amex", "discover", "jcb", "diners", "unionpay", "maestro"];

/// The first number that begins at `from` or behind it. Looks at one byte before it and one behind it.
pub fn find(text: &[u8], from: usize) -> Option<Card> {
    // A number covers at least 13 bytes in a row that are digits, blanks or dashes, so a look at every 13th byte meets each.
    let mut position = from + FEWEST - 1;
    while let Some(byte) = text.get(position) {
        // In a number a blank or dash stands between two digits. In text it seldom does, so most blanks are passed over.
        let between = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_digit() || is_part(*byte) && between(position - 1) && between(position + 1)) {
            position += FEWEST;
            continue;
        }
        let before = text[from..position].iter().rev().take_while(|byte| is_part(**byte)).count();
        let behind = text[position..].iter().position(|byte| !is_part(*byte));
        let run = position - before..behind.map_or(text.len(), |length| position + length);
        // Most runs are a number in a text.
        let starts = if run.len() < FEWEST { 0..0 } else { run.clone() };
        let found = starts.filter(|start| is_start(text, *start)).find_map(|start| read(text, start));
        if found.is_some() {
            return found;
        }
        position = run.end + FEWEST;
    }
    None
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-')
}

fn is_start(text: &[u8], at: usize) -> bool {
    let alone = |before: u8| !(before.is_ascii_alphanumeric() || matches!(before, b'_' | b'.'));
    text[at].is_ascii_digit() && (at == 0 || alone(text[at - 1]))
}

/// The number that begins here, in any of its forms.
fn read(text: &[u8], start: usize) -> Option<Card> {
    let length = digits_at(text, start);
    if (FEWEST..=MOST).contains(&length) {
        return judge(text, start, start + length);
    }
    let separator = *text.get(start + length).filter(|byte| matches!(byte, b' ' | b'-'))?;
    GROUPS.iter().filter_map(|groups| grouped(text, start, separator, groups)).find_map(|end| judge(text, start, end))
}

/// How many digits stand here; counts to one more than a number can have.
fn digits_at(text: &[u8], at: usize) -> usize {
    text[at.min(text.len())..].iter().take(MOST + 1).take_while(|byte| byte.is_ascii_digit()).count()
}

/// Where the groups end, if they are written like this.
fn grouped(text: &[u8], start: usize, separator: u8, groups: &[u8]) -> Option<usize> {
    let mut at = start;
    for (number, length) in groups.iter().enumerate() {
        if number > 0 {
            (text.get(at) == Some(&separator)).then_some(())?;
            at += 1;
        }
        (digits_at(text, at) == usize::from(*length)).then_some(())?;
        at += usize::from(*length);
    }
    Some(at)
}

fn judge(text: &[u8], start: usize, end: usize) -> Option<Card> {
    let ends = text.get(end).is_none_or(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    if !ends {
        return None;
    }
    let mut digits = [0; MOST];
    let mut length = 0;
    for byte in text[start..end].iter().filter(|byte| byte.is_ascii_digit()) {
        digits[length] = byte - b'0';
        length += 1;
    }
    let digits = &digits[..length];
    let scheme = scheme(digits)?;
    has_check_digit(digits).then_some(Card { start, end, scheme })
}

/// Luhn's formula: every second digit from the right but one is doubled, and the sum of all digits ends in 0.
fn has_check_digit(digits: &[u8]) -> bool {
    const DOUBLED: [u8; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let value =
        |(place, digit): (usize, &u8)| u32::from(if place % 2 == 1 { DOUBLED[usize::from(*digit)] } else { *digit });
    digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

/// Whose number it is, by its first digits and their number.
fn scheme(digits: &[u8]) -> Option<usize> {
    let first = |count: usize| digits[..count].iter().fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    let name = match (digits.len(), first(2), first(4)) {
        (13 | 16 | 19, 40..=49, _) => "visa",
        (16, 51..=55, _) | (16, _, 2221..=2720) => "mastercard",
        (15, 34 | 37, _) => "amex",
        (16..=19, 65, _) | (16..=19, _, 6011 | 6440..=6499) => "discover",
        (16..=19, _, 3528..=3589) => "jcb",
        (14..=19, 36 | 38 | 39, _) | (16..=19, _, 3000..=3059) | (14, _, 3000..=3059) => "diners",
        (16..=19, 62, _) => "unionpay",
        (13..=19, _, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) => "maestro",
        _ => return None,
    };
    SCHEMES.iter().position(|scheme| *scheme == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        find(text.as_bytes(), 0).map(|card| &text[card.start..card.end])
    }

    #[test]
    fn numbers_are_found_in_the_forms_people_write() {
        for (text, number) in [
            ("4111111111111111", "4111111111111111"),
            ("pan=4111 1111 1111 1111;", "4111 1111 1111 1111"),
            ("(4111-1111-1111-1111)", "4111-1111-1111-1111"),
            ("2024 4111 1111 1111 1111 123", "4111 1111 1111 1111"),
            ("a,b,378282246310005.", "378282246310005"),
            ("3782 822463 10005", "3782 822463 10005"),
            ("5555555555554444\r\n", "5555555555554444"),
            ("30569309025904", "30569309025904"),
            ("6011111111111117", "6011111111111117"),
            ("3530111333300000", "3530111333300000"),
            ("4222222222222", "4222222222222"),
            ("1 4111111111111112 4111111111111111", "4111111111111111"),
        ] {
            assert_eq!(found(text), Some(number), "{text}");
        }
    }

    #[test]
    fn other_digits_are_not_cards() {
        for text in [
            "4111111111111112",
            "41111111111111110",
            "14111111111111111",
            "x4111111111111111",
            "4111111111111111f",
            "0.4111111111111111",
            "4111-1111 1111-1111",
            "4111  1111 1111 1111",
            "41 11 11 11 11 11 11 11",
            "0000000000000000",
            "1234567812345670",
            "99999999999999999999999999999",
            "4111 1111 1111",
            "",
            "-",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_found_wherever_it_stands() {
        for before in 0..40 {
            for filler in [b'.', b' ', b'x'] {
                let mut text = vec![filler; before];
                text.extend(b"/4111111111111111/");
                text.extend(vec![filler; 40]);
                let card = find(&text, 0).map(|card| card.start);
                assert_eq!(card, Some(before + 1));
            }
        }
    }

    #[test]
    fn long_runs_of_digits_and_blanks_are_read_once() {
        let mut text = vec![b' '; 1 << 20];
        assert_eq!(find(&text, 0), None);
        text.fill(b'4');
        assert_eq!(find(&text, 0), None);
    }
}
