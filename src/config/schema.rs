//! The JSON Schema of the configuration, for editors: made of the types of `raw` and their comments.
//!
//! Accepts what the loader accepts, as far as a schema can tell: which keys there are, of which kind, which are required. What fits together
//! is for `countersign check`.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::raw::RawConfig;

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawConfig>().to_value();
    adapt(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Configuration of countersign"));
    }
    schema
}

/// Turns the types as Rust has them into values as the loader takes them.
fn adapt(value: &mut Value) {
    let Value::Object(schema) = value else { return };
    // Names of keys are no keywords: there is a key `format`.
    for keyword in ["properties", "$defs"] {
        if let Some(Value::Object(named)) = schema.get_mut(keyword) {
            named.values_mut().for_each(adapt);
        }
    }
    for keyword in ["additionalProperties", "items"] {
        schema.get_mut(keyword).into_iter().for_each(adapt);
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(choices)) = schema.get_mut(keyword) {
            // A key without a value is a mistake, see `de`; `null` as a value of its own is a `const`.
            choices.retain(|choice| *choice != json!({ "type": "null" }));
            choices.iter_mut().for_each(adapt);
        }
    }
    adapt_keywords(schema);
}

fn adapt_keywords(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = &types[..] {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    let is_text = schema.get("type").is_some_and(|kind| kind == "string");
    if is_text && !schema.contains_key("enum") && !schema.contains_key("const") {
        // YAML without quotes: `min_size: 0` is a number to an editor and text to the loader.
        schema.insert("type".to_owned(), json!(["string", "number", "boolean"]));
    }
    // Numbers have their ranges in the descriptions; editors do not know Rust's formats.
    schema.remove("format");
    // What was "this or null" is this.
    if schema.get("anyOf").and_then(Value::as_array).is_some_and(|choices| choices.len() == 1)
        && let Some(Value::Array(choices)) = schema.remove("anyOf")
    {
        for (keyword, value) in choices.into_iter().filter_map(into_object).flatten() {
            schema.entry(keyword).or_insert(value);
        }
    }
    let required = required_keys(schema);
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// The keys whose description has a sentence that begins with the word "Required".
fn required_keys(schema: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Object(keys)) = schema.get("properties") else { return Vec::new() };
    let is_required = |key: &Value| {
        let description = key.get("description").and_then(Value::as_str).unwrap_or_default();
        description.starts_with("Required") || description.contains(". Required")
    };
    keys.iter().filter(|(_, key)| is_required(key)).map(|(name, _)| name.clone()).collect()
}
