//! `yara` of an inspector: what is accepted, and what is not. In a build without the feature that is nothing.

use super::{MapReferences, assert_problems, edited, references};

/// The base file with an inspector `rules`; its keys are in line 21.
fn with_yara(keys: &str) -> String {
    edited("rules:\n", &format!("inspectors: {{ rules: {{ yara: {{ {keys} }} }} }}\nrules:\n"))
}

fn with_files() -> MapReferences {
    let mut refs = references();
    for (path, text) in [
        ("/rules/a.yar", "rule a { strings: $a = \"evil\" condition: $a }"),
        ("/rules/b.yara", "rule b {\n  condition:\n    filesize > 10\n}"),
        ("/rules/.hidden.yar", "not a rule"),
        ("/rules/readme.txt", "not a rule"),
        ("/empty/readme.txt", "rule r { condition: }"),
        ("/broken.yar", "rule a { condition: true }\nrule c {\n  condition: $x\n}\n"),
        ("/pe.yar", "import \"pe\"\nrule d { condition: pe.is_pe }"),
        ("/include.yar", "include \"/rules/a.yar\"\nrule e { condition: true }"),
    ] {
        refs.files.insert(path.into(), text.to_owned());
    }
    refs
}

#[cfg(not(feature = "yara"))]
#[test]
fn a_build_without_yara_says_so() {
    for keys in ["", "files: /rules/a.yar", "folder: /none"] {
        let expected = (21, "this build of countersign cannot match rules of YARA", "--features yara");
        assert_problems(&with_yara(keys), &with_files(), &[expected]);
    }
}

#[cfg(feature = "yara")]
mod built_in {
    use std::time::Duration;

    use super::*;
    use crate::config::load_text;
    use crate::inspect::KindSettings;
    use crate::inspect::unpack::Limits;
    use crate::inspect::yara::Settings;

    fn yara(keys: &str) -> Settings {
        let text = with_yara(keys);
        let config = load_text("test.yaml", &text, &with_files()).unwrap_or_else(|problems| panic!("{problems}"));
        match &config.inspectors[0].kind {
            KindSettings::Yara(settings) => settings.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rule_files_are_read_with_their_defaults() {
        let settings = yara("files: /rules/a.yar");
        assert_eq!((settings.deadline, settings.ignore_tags.len()), (Duration::from_secs(30), 0));
        assert!(settings.threads > 0);
        assert_eq!(settings.unpack, Some(Limits { bytes: 1 << 30, depth: 2, entries: 10_000 }));
    }

    #[test]
    fn every_key_can_be_written() {
        let all = yara("files: [/rules/a.yar], whole_up_to: 1MiB, ignore_tags: [info], threads: 3, deadline: 5s");
        assert_eq!(
            (all.threads, all.deadline, &all.ignore_tags[..]),
            (3, Duration::from_secs(5), &["info".to_owned()][..])
        );
        let limits = yara("files: /rules/a.yar, max_unpacked: 2MiB, max_depth: 3, max_entries: 4").unpack;
        assert_eq!(limits, Some(Limits { bytes: 2 << 20, depth: 3, entries: 4 }));
        assert_eq!(yara("files: /rules/a.yar, unpack: false").unpack, None);
        let folder = yara("folder: /rules, whole_up_to: 1MiB");
        assert_ne!(format!("{:?}", folder.rules), format!("{:?}", all.rules));
    }

    #[test]
    fn rule_files_with_mistakes() {
        for (keys, message, help) in [
            ("", "there is no rule file", "`files`"),
            ("files: []", "the list is empty", "`files`"),
            ("files: a.yar", "not absolute", ""),
            ("files: /none.yar", "/none.yar cannot be read", ""),
            ("folder: /empty", "/empty holds no rule file", "`.yar`"),
            ("folder: /rules", "/rules/b.yara:3: rule `b`: `filesize` cannot be told", "whole_up_to"),
            ("files: [/rules/a.yar, /rules/a.yar]", "/rules/a.yar:1: duplicate rule", "correct the rule file"),
            ("files: /broken.yar", "/broken.yar:3: unknown pattern", "correct the rule file"),
            ("files: /pe.yar", "/pe.yar:1: unknown module", "not built in"),
            ("files: /include.yar", "/include.yar:1: include statements not allowed", "under `files` too"),
            ("files: /empty/readme.txt", "/empty/readme.txt:1: syntax error", ""),
            ("files: /rules/a.yar, whole_up_to: 1GiB", "out of range", "256MiB"),
            ("files: /rules/a.yar, deadline: 0s", "out of range", "1s"),
            ("files: /rules/a.yar, max_unpacked: 1KiB", "out of range", "1MiB"),
            ("files: /rules/a.yar, max_depth: 9", "out of range", "1 to 8"),
            ("files: /rules/a.yar, max_entries: 0", "out of range", "1 to 1000000"),
            ("files: /rules/a.yar, threads: 0", "out of range", "1 to 256"),
            ("files: /rules/a.yar, ignore_tags: []", "the list is empty", ""),
            ("files: /rules/a.yar, block: 1", "unknown key `block`", ""),
        ] {
            assert_problems(&with_yara(keys), &with_files(), &[(21, message, help)]);
        }
    }
}
