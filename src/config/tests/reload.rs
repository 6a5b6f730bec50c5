//! What is noted of a configuration so that it can be loaded again, and the key that says when.

use std::path::{Path, PathBuf};

use super::{BASE, assert_problems, edited, load, references};
use crate::config::{MapReferences, Thing, load_recorded};

#[test]
fn files_are_watched_unless_the_key_says_no() {
    assert!(load(BASE).unwrap().reload.watch);
    assert!(!load(&format!("{BASE}reload: {{ watch: false }}\n")).unwrap().reload.watch);
    assert!(load(&format!("{BASE}reload: {{}}\n")).unwrap().reload.watch);
    let line = BASE.lines().count() + 1;
    for (written, message, help) in [
        ("{ watch: never }", "expected `true` or `false`", ""),
        ("{ wach: false }", "unknown key `wach`", "did you mean `watch`?"),
    ] {
        assert_problems(&format!("{BASE}reload: {written}\n"), &references(), &[(line, message, help)]);
    }
}

#[test]
fn everything_that_is_read_is_noted_also_for_a_file_with_problems() {
    let keys = "credentials: { access_key_id: env:ID, secret_access_key: env:KEY }";
    let text = edited(keys, "credentials: { access_key_id: file:/id, secret_access_key: file:/key }");
    let with = |text: &str| {
        let files = [("/gw.yaml", text), ("/id", "AKIDREAL"), ("/key", "k3y-of-a-st0re")];
        let files = files.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        MapReferences { files: files.into(), ..references() }
    };
    let file = |path: &str| Thing::File(path.into());
    let (loaded, reads) = load_recorded(Path::new("/gw.yaml"), &with(&text));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let expected: Vec<_> = ["/gw.yaml", "/id", "/key"].map(PathBuf::from).into();
    assert_eq!(reads.paths().into_iter().collect::<Vec<_>>(), expected);
    assert!(reads.are_current(&with(&text)));

    let bad = text.replace("    region:", "    regoin:");
    let (problems, of_bad) = load_recorded(Path::new("/gw.yaml"), &with(&bad));
    assert!(problems.is_err());
    assert!(reads.changes(&of_bad).contains(&file("/gw.yaml")) && of_bad.are_current(&with(&bad)));
    let (again, of_good) = load_recorded(Path::new("/gw.yaml"), &with(&text));
    assert_eq!((again.unwrap().outline, of_good), (loaded.outline, reads));
    let (missing, reads) = load_recorded(Path::new("/gw.yaml"), &references());
    assert!(missing.is_err() && !reads.are_current(&with(&text)), "it is seen when it is there");
}
