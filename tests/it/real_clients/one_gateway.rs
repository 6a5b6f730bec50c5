//! Command lines, a dataset, a database, a browser and a pod through one gateway, held to one rule.

use super::super::boto::python;
use super::super::sts::{ENABLED, pod, tokens_of};
use super::super::support::oidc::until_ready;
use super::super::support::{Oidc, Store, StoreKind};
use super::{CORS, PROGRAMS, SECRET, World, key_of, missing, run, tools};

/// A pod has its home, and each key has a folder. Not in that home: pyarrow makes objects of all folders above its own.
const RULE: &str = "
  - { name: team, who: anyone, where: [\"bkt/home/{sub}/\", \"bkt/{key}/\"], what: [read, write, delete] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_leads_through_one_gateway_under_one_rule() {
    if !tools().join("venv-data").exists() {
        return missing("venv-data");
    }
    let Some(provider) = Oidc::shared().await else { return };
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let programs = ["aws-cli", "rclone", "pyarrow", "duckdb", "chromium"]
        .map(|name| *PROGRAMS.iter().find(|program| program.name == name).unwrap());
    let mut setup = store.setup().rules(RULE).issuers(&provider.entry("idp", "RS256", "")).top(ENABLED);
    setup.bucket_settings = CORS.to_owned();
    for program in &programs {
        setup = setup.access_key(program.name, &key_of(program), SECRET);
    }
    let gateway = setup.start().await;
    until_ready(&gateway).await;
    // First, because it expects its home to be empty.
    let tokens = tokens_of(&provider).await;
    let tokens = tokens.each_ref().map(|(name, token)| (*name, token.as_str()));
    assert!(python("sts.py", "pod", pod(&gateway, None, &tokens)).await);
    for program in programs {
        let prefix = format!("{}/", program.name);
        let endpoint = format!("http://{}", gateway.address);
        let world = World { endpoint, ..World::of(&program, prefix, "home/reader/x") };
        let (report, log) = tokio::task::spawn_blocking(move || run(program, &world)).await.unwrap();
        let steps = report["steps"].as_object().unwrap_or_else(|| panic!("{log}"));
        let failed: Vec<_> = steps.iter().filter(|(_, result)| *result != "ok").collect();
        assert!(failed.is_empty() && !steps.is_empty(), "{}: {failed:?}\n{log}", program.name);
    }
    assert!(gateway.records().iter().filter_map(|record| record.rule.as_deref()).all(|rule| rule == "team"));
}
