//! `rules`: who may do what where. Everything a rule names must exist, so that a typing mistake cannot make a deny void.

use std::collections::BTreeSet;

use super::super::forms::{OneOrMany, RawWho};
use super::super::path::Path;
use super::super::raw::{RawConditions, RawConfig, RawEffect, RawRule};
use super::super::suggest::{did_you_mean, listed};
use super::clients::{KnownClient, KnownClients, check_texts, text_path};
use super::desk::Desk;
use super::inspect::check_quarantine;
use super::proxies::networks;
use super::terms;
use super::values::check_name;
use crate::rules::action::{ActionSet, GROUPS};
use crate::rules::settings::{Client, Place, Terms, Who};
use crate::rules::template::PrefixTemplate;
use crate::rules::{Effect, RuleSettings};
use crate::s3::names::check_text;
use crate::s3::operation::ACTIONS;
use crate::s3::{Bucket, OddKeys, PassThrough};

/// What rules refer to.
pub struct World<'a> {
    /// The clients of the file.
    pub clients: &'a KnownClients,
    /// The buckets without a problem.
    pub buckets: &'a [Bucket],
    /// The mapping of every other bucket, if there is one.
    pub pass_through: Option<&'a PassThrough>,
    /// The names of all buckets, those with a problem included.
    pub bucket_names: BTreeSet<&'a str>,
    /// The names of all inspectors, in the order of their identifiers.
    pub inspectors: Vec<&'a str>,
    /// Whether a bucket that is not among the names may have been mistyped where it is defined.
    pub buckets_complete: bool,
}

/// The rules without those that have a problem.
pub fn rules(desk: &mut Desk<'_>, raw: &RawConfig, world: &World<'_>) -> Vec<RuleSettings> {
    let help = "add a rule with `name`, `who`, `where` and `what`; without one every request is refused";
    let Some(raw) = desk.required(&Path::top(), "rules", raw.rules.as_ref(), help) else { return Vec::new() };
    let path = Path::top().key("rules");
    if raw.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "no rule, so nothing is allowed", help);
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        if let Some(name) = &raw.name
            && !names.insert(name)
        {
            desk.report(
                &path.key("name"),
                "another rule has this name",
                "give every rule a name of its own; audit records name the rule",
            );
        }
        rules.extend(rule(desk, &path, raw, world));
    }
    rules
}

fn rule(desk: &mut Desk<'_>, path: &Path, raw: &RawRule, world: &World<'_>) -> Option<RuleSettings> {
    let name = desk.required(path, "name", raw.name.as_ref(), "give the rule a name; every decision is logged with it");
    let name = name.filter(|name| check_name(desk, &path.key("name"), name));
    let who = who(desk, path, raw, world);
    let subjects = who.as_ref().map(|who| subjects(who, world.clients)).unwrap_or_default();
    if let Some(who) = &who {
        check_attributes(desk, &path.key("who"), raw, who, &subjects, world);
    }
    let places = places(desk, path, raw, &subjects, world);
    let actions = actions(desk, path, raw);
    let effect = match raw.effect {
        Some(RawEffect::Deny) => Effect::Deny,
        Some(RawEffect::Allow) | None => Effect::Allow,
    };
    let terms = match effect {
        Effect::Allow => terms::terms(desk, path, raw, world),
        Effect::Deny => {
            refuse_terms(desk, path, raw);
            Terms::default()
        }
    };
    if let (Some(places), Some(inspection)) = (&places, &terms.inspection) {
        check_quarantine(desk, &path.key("inspect"), inspection, places, world);
    }
    Some(RuleSettings { name: name?.clone(), effect, who: who?, places: places?, actions: actions?, terms })
}

fn refuse_terms(desk: &mut Desk<'_>, path: &Path, raw: &RawRule) {
    let written = [
        ("limits", raw.limits.is_some()),
        ("content", raw.content.is_some()),
        ("inspect", raw.inspect.is_some()),
        ("headers", raw.headers.is_some()),
        ("response_overrides", raw.response_overrides.is_some()),
    ];
    for (key, _) in written.into_iter().filter(|(_, written)| *written) {
        let help = "a deny refuses every request it matches; put the conditions into the rule that allows";
        desk.report_key(&path.key(key), format!("a deny rule has no `{key}`"), help);
    }
}

fn who(desk: &mut Desk<'_>, path: &Path, raw: &RawRule, world: &World<'_>) -> Option<Who> {
    const HELP: &str = "name `tokens`, `keys`, `issuers`, `listeners`, `certificates`, `groups`, `attributes` or `networks`; every authenticated caller is `who: anyone`";
    let raw = desk.required(path, "who", raw.who.as_ref(), HELP)?;
    let path = path.key("who");
    let raw = match raw {
        RawWho::Word(word) if word == "anyone" => return Some(Who::default()),
        RawWho::Word(_) => {
            desk.report(&path, "this word is not known here", HELP);
            return None;
        }
        RawWho::Conditions(raw) => raw,
    };
    let lists = [
        ("tokens", &raw.tokens),
        ("keys", &raw.keys),
        ("issuers", &raw.issuers),
        ("listeners", &raw.listeners),
        ("certificates", &raw.certificates),
        ("groups", &raw.groups),
        ("networks", &raw.networks),
    ];
    if lists.iter().all(|(_, list)| list.is_none()) && raw.attributes.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "there is no condition here", HELP);
    }
    for (key, list) in lists {
        if let Some(list) = list {
            check_texts(
                desk,
                &path.key(key),
                list,
                "an empty list would match every caller; name somebody, or remove the key",
            );
        }
    }
    for (name, values) in &raw.attributes {
        check_texts(desk, &path.key("attributes").key(name), values, "write the value or values that are accepted");
    }
    let groups = raw.groups.iter().map(|values| ("groups".to_owned(), values.texts().to_vec()));
    let attributes = raw.attributes.iter().map(|(name, values)| (name.clone(), values.texts().to_vec()));
    Some(Who {
        clients: named_clients(desk, &path, raw, world.clients),
        attributes: groups.chain(attributes).collect(),
        networks: raw.networks.iter().flat_map(|list| networks(desk, &path.key("networks"), list)).collect(),
    })
}

fn named_clients(desk: &mut Desk<'_>, path: &Path, raw: &RawConditions, known: &KnownClients) -> Vec<Client> {
    type Kind = fn(String) -> Client;
    let kinds: [(&str, &Option<OneOrMany>, Kind); 5] = [
        ("tokens", &raw.tokens, Client::Token),
        ("keys", &raw.keys, Client::Key),
        ("issuers", &raw.issuers, Client::Issuer),
        ("listeners", &raw.listeners, Client::Listener),
        ("certificates", &raw.certificates, Client::Certificate),
    ];
    let mut named: Vec<(Path, Client)> = Vec::new();
    for (key, list, client) in kinds {
        let positions = list.iter().flat_map(|list| positions(list, &path.key(key)));
        named.extend(positions.map(|(path, name)| (path, client(name))));
    }
    for (path, client) in &named {
        let (noun, name) = match client {
            Client::Token(name) => ("token", name),
            Client::Key(name) => ("access key", name),
            Client::Issuer(name) => ("issuer", name),
            Client::Listener(name) => ("listener", name),
            Client::Certificate(name) => ("certificate", name),
        };
        if known.complete && !name.is_empty() && !known.clients.iter().any(|known| known.client == *client) {
            let names = || known.clients.iter().filter_map(|known| same_kind(&known.client, client));
            let help = format!("{}defined are: {}", did_you_mean(name, names()), listed(names()));
            desk.report(path, format!("there is no {noun} `{name}`"), help);
        }
    }
    named.into_iter().map(|(_, client)| client).collect()
}

/// The texts of a list with their paths.
fn positions(list: &OneOrMany, path: &Path) -> Vec<(Path, String)> {
    list.texts().iter().enumerate().map(|(position, text)| (text_path(path, list, position), text.clone())).collect()
}

fn same_kind<'a>(known: &'a Client, wanted: &Client) -> Option<&'a str> {
    match (known, wanted) {
        (Client::Token(name), Client::Token(_))
        | (Client::Key(name), Client::Key(_))
        | (Client::Issuer(name), Client::Issuer(_))
        | (Client::Listener(name), Client::Listener(_))
        | (Client::Certificate(name), Client::Certificate(_)) => Some(name),
        _ => None,
    }
}

/// The clients that a rule can be about.
fn subjects<'a>(who: &Who, known: &'a KnownClients) -> Vec<&'a KnownClient> {
    known.clients.iter().filter(|client| who.clients.is_empty() || who.clients.contains(&client.client)).collect()
}

/// An attribute that nobody has makes an allow useless, which is annoying, and a deny void, which is dangerous.
fn check_attributes(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &RawRule,
    who: &Who,
    subjects: &[&KnownClient],
    world: &World<'_>,
) {
    if !world.clients.complete || subjects.is_empty() {
        return;
    }
    let from_groups = matches!(&raw.who, Some(RawWho::Conditions(raw)) if raw.groups.is_some());
    for (position, (name, _)) in who.attributes.iter().enumerate() {
        let path = if from_groups && position == 0 { path.key("groups") } else { path.key("attributes").key(name) };
        if !subjects.iter().any(|client| client.attributes.contains(name)) {
            report_unknown_attribute(desk, &path, name, subjects.iter().flat_map(|client| &client.attributes));
        }
    }
}

fn report_unknown_attribute<'a>(desk: &mut Desk<'_>, path: &Path, name: &str, known: impl Iterator<Item = &'a String>) {
    let known: BTreeSet<&str> = known.map(String::as_str).collect();
    let help = format!(
        "{}known are: {}; a token has what stands under its `attributes`, an issuer what its `attributes` take from claims",
        did_you_mean(name, known.iter().copied()),
        listed(known.iter().copied())
    );
    desk.report_key(path, format!("no client of this rule can have the attribute `{name}`"), help);
}

fn places(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &RawRule,
    subjects: &[&KnownClient],
    world: &World<'_>,
) -> Option<Vec<Place>> {
    const HELP: &str = "write `bucket` or `bucket/prefix/`";
    let list = desk.required(path, "where", raw.places.as_ref(), HELP)?;
    let path = path.key("where");
    check_texts(desk, &path, list, HELP);
    let mut places = Vec::new();
    for (position, text) in list.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        places.extend(place(desk, &text_path(&path, list, position), text, subjects, world));
    }
    Some(places).filter(|places| places.len() == list.texts().len())
}

fn place(desk: &mut Desk<'_>, path: &Path, text: &str, subjects: &[&KnownClient], world: &World<'_>) -> Option<Place> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    // Under the pass-through every name that a bucket can have is one.
    let passed_through = world.pass_through.is_some_and(|mapping| mapping.takes(bucket));
    if let Some(mapping) = world.pass_through.filter(|mapping| mapping.hidden.contains(bucket))
        && !world.bucket_names.contains(bucket)
    {
        let known = world.buckets.iter().find(|known| known.upstream_bucket == bucket && known.route == mapping.route);
        let help = format!("clients reach it as `{}`", known.map_or("another bucket", |known| known.name.as_str()));
        desk.report(path, "a configured bucket lies in this one, so it has no name of its own here", help);
        return None;
    }
    if !world.bucket_names.contains(bucket) && !passed_through {
        if world.buckets_complete {
            let names = world.bucket_names.iter().copied();
            let help = format!(
                "{}write the name that clients use; defined are: {}",
                did_you_mean(bucket, names.clone()),
                listed(names)
            );
            desk.report(path, format!("there is no bucket `{bucket}`"), help);
        }
        return None;
    }
    let configured = world.buckets.iter().find(|known| known.name == bucket).map(|known| known.odd_keys);
    let odd_keys = configured.or(world.pass_through.map(|mapping| mapping.odd_keys)).unwrap_or_default();
    let template = template(desk, path, prefix, odd_keys)?;
    for name in template.attributes() {
        if world.clients.complete && !subjects.is_empty() && !subjects.iter().any(|client| client.plain.contains(name))
        {
            report_unknown_attribute(desk, path, name, subjects.iter().flat_map(|client| &client.plain));
        }
    }
    Some(Place { bucket: bucket.to_owned(), prefix: template })
}

fn template(desk: &mut Desk<'_>, path: &Path, prefix: &str, odd_keys: OddKeys) -> Option<PrefixTemplate> {
    let problem = if prefix.contains('*') {
        Some(("there are no patterns here".to_owned(), "a prefix covers every key below it: write `bucket/prefix/`"))
    } else if let Err(error) = check_text(prefix, odd_keys) {
        Some((error.to_string().replace("the key", "the prefix"), "write it like `bucket/a/b/`"))
    } else if !prefix.is_empty() && !prefix.ends_with('/') {
        Some((
            "the prefix does not end with `/`".to_owned(),
            "end it with `/`; without the slash `a/b` would also cover `a/bcd`",
        ))
    } else if prefix.split('/').any(|segment| segment.matches('{').count() > 1) {
        // `{tenant}-{user}`: a-b + c and a + b-c would be one place.
        Some((
            "there are two attributes in one segment".to_owned(),
            "put a `/` between them; otherwise two callers could have the same prefix",
        ))
    } else {
        None
    };
    if let Some((message, help)) = problem {
        desk.report(path, message, help);
        return None;
    }
    PrefixTemplate::parse(prefix)
        .map_err(|error| desk.report(path, error.to_string(), "an attribute part is written like `{sub}`"))
        .ok()
}

fn actions(desk: &mut Desk<'_>, path: &Path, raw: &RawRule) -> Option<ActionSet> {
    const HELP: &str =
        "write `read`, `list`, `write`, `delete`, an action such as `s3:GetObject`, or a pattern such as `s3:Get*`";
    let list = desk.required(path, "what", raw.what.as_ref(), HELP)?;
    let path = path.key("what");
    check_texts(desk, &path, list, HELP);
    let mut actions = ActionSet::default();
    for (position, word) in list.texts().iter().enumerate().filter(|(_, word)| !word.is_empty()) {
        if !actions.add(word) {
            desk.report(
                &text_path(&path, list, position),
                format!("`{word}` is not an action"),
                suggestion(word) + HELP,
            );
        }
    }
    Some(actions).filter(|actions| !actions.is_empty())
}

fn suggestion(word: &str) -> String {
    let candidates = || GROUPS.iter().map(|(group, _)| *group).chain(ACTIONS.iter().copied());
    let direct = did_you_mean(word, candidates());
    if direct.is_empty() && !word.contains(':') { did_you_mean(&format!("s3:{word}"), candidates()) } else { direct }
}

/// Every text of a list, for `terms`.
pub fn each(values: &Option<OneOrMany>) -> impl Iterator<Item = (usize, &String)> {
    values.iter().flat_map(OneOrMany::texts).enumerate()
}
