//! Lines of the file as they may be shown: values of secrets replaced by `…`.
//!
//! Works on the text and not on the parsed file, because a file that does not parse has secrets too. Errs on the side of hiding.

/// The text that stands for something hidden.
const HIDDEN: &str = "…";

/// Every line of a file, with whatever may be secret hidden.
///
/// Hidden are the values of keys that look like secrets, everything indented deeper than such a key, and user names and passwords
/// in URLs. Control characters are replaced, because the lines go to a terminal.
pub fn masked_lines(text: &str) -> Vec<String> {
    let mut secret_column = None;
    text.lines()
        .map(|line| {
            let indent = line.chars().take_while(|c| *c == ' ').count();
            let blank = line.trim().is_empty();
            let below_secret = secret_column.is_some_and(|column| blank || indent > column);
            let shown = if below_secret {
                hide_below_secret(line)
            } else {
                secret_column = None;
                match find_secret_key(line) {
                    Some(found) => {
                        secret_column = Some(line[..found.start].chars().count());
                        hide_from(line, found.colon)
                    }
                    None => hide_user_info(line),
                }
            };
            shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        })
        .collect()
}

/// The line up to the colon of the key that begins at this column (counted from 1), its value hidden.
pub fn hide_value_at(line: &str, column: usize) -> String {
    let start = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    match line[start..].find(':') {
        Some(colon) => hide_from(line, start + colon),
        None if line.ends_with(HIDDEN) => line.to_owned(),
        None => line[..start].to_owned() + HIDDEN,
    }
}

fn hide_from(line: &str, colon: usize) -> String {
    let (shown, rest) = line.split_at(colon + 1);
    if rest.trim().is_empty() { shown.to_owned() } else { format!("{shown} {HIDDEN}") }
}

/// A line inside a secret: its key is shown if it is plainly a key of ours, and nothing else.
fn hide_below_secret(line: &str) -> String {
    let content = line.trim_start();
    let indent = &line[..line.len() - content.len()];
    let is_key =
        |key: &str| !key.is_empty() && key.len() <= 40 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match content.split_once(':') {
        Some((key, rest)) if is_key(key) => hide_from(&format!("{indent}{key}:{rest}"), indent.len() + key.len()),
        _ if content.is_empty() => String::new(),
        _ => format!("{indent}{HIDDEN}"),
    }
}

/// Where the first key of a line that looks like one of a secret begins, and where its colon is (bytes).
struct SecretKey {
    start: usize,
    colon: usize,
}

fn find_secret_key(line: &str) -> Option<SecretKey> {
    line.match_indices(':').find_map(|(colon, _)| {
        let before = line[..colon].trim_end().trim_end_matches(['"', '\'']);
        let start = before
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'))
            .map_or(0, |at| at + last_width(before, at));
        is_secret_key(&before[start..]).then_some(SecretKey { start, colon })
    })
}

fn last_width(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['-', '.'], "_");
    // A list of keys, in which the secret has a key of its own.
    if key == "access_keys" {
        return false;
    }
    let parts = ["secret", "passw", "credent", "access_key", "accesskey", "api_key", "apikey", "private_key"];
    parts.iter().any(|part| key.contains(part)) || key.ends_with("token") || key == "hash" || key == "authorization"
}

/// `https://user:password@host` becomes `https://…@host`.
fn hide_user_info(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(slashes) = rest.find("//") {
        let (before, after) = rest.split_at(slashes + 2);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str(HIDDEN);
                &after[at..]
            }
            None => after,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_keys_are_hidden_in_every_way_of_writing_them() {
        for text in [
            "secret_access_key: S3CR3T",
            "  access_key_id: S3CR3T # comment",
            "session_token: \"S3CR3T\"",
            "\"secret_access_key\": \"S3CR3T\"",
            "'secret_access_key' : S3CR3T",
            "credentials: { access_key_id: S3CR3T, secret_access_key: S3CR3T }",
            "store: { region: x, credentials: { access_key_id: S3CR3T } }",
            "credentials:\n  acess_key: S3CR3T\n  S3CR3T: x\n  - S3CR3T",
            "secret_access_key: |\n  S3CR3T\n\n  S3CR3T",
            "secret_access_key:\n  S3CR3T",
            "- name: ci\n  hash: S3CR3T",
            "- hash:\n    S3CR3T",
            "secretAccessKey: S3CR3T",
            "passwd: S3CR3T",
            "token:S3CR3T",
            "é: {token: S3CR3T}",
            "endpoint: https://user:S3CR3T@host/x",
            "urls: [\"https://S3CR3T@h\", 'http://a:S3CR3T@b']",
        ] {
            let shown = masked_lines(text).join("\n");
            assert!(!shown.contains("S3CR3T"), "{text:?} is shown as {shown:?}");
        }
    }

    #[test]
    fn everything_else_is_shown() {
        let text = "clients:\n  tokens:\n    - name: ci\n      hash: x\n      expires: y\nwho: { tokens: [ci] }\nendpoint: https://host:1/p@q";
        let shown = masked_lines(text);
        assert_eq!(shown[2], "    - name: ci");
        assert_eq!(shown[3], "      hash: …");
        assert_eq!(shown[4], "      expires: y");
        assert_eq!(shown[5], "who: { tokens: [ci] }");
        assert_eq!(shown[6], "endpoint: https://host:1/p@q");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(masked_lines("a: \u{1b}[2J"), ["a: \u{fffd}[2J"]);
    }

    #[test]
    fn the_value_of_an_unknown_key_is_hidden_from_its_column_on() {
        assert_eq!(hide_value_at("{ a: 1, scrt: x }", 9), "{ a: 1, scrt: …");
        assert_eq!(hide_value_at("é: {ä: x}", 5), "é: {ä: …");
    }
}
