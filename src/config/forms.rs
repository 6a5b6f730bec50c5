//! Values that can be written in more than one form: a text or a list, a word or a mapping.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::raw::{RawConditions, RawKeyPlace};

/// Where the keys of an issuer are.
#[derive(Debug)]
pub enum RawKeys {
    /// A word; only `discovery` exists.
    Word(String),
    /// A JWKS document.
    At(RawKeyPlace),
}

/// Whom a rule is about.
#[derive(Debug)]
pub enum RawWho {
    /// A word; only `anyone` exists.
    Word(String),
    /// Conditions.
    Conditions(Box<RawConditions>),
}

/// What a required header must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderWish {
    /// Anything.
    Any,
    /// Exactly this.
    Exact(String),
}

/// One text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOrMany {
    /// Written as a text.
    One(String),
    /// Written as a list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts, in order.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a list of texts")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl<'de> Deserialize<'de> for HeaderWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wish;
        impl Visitor<'_> for Wish {
            type Value = HeaderWish;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or `null` for any value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<HeaderWish, E> {
                Ok(HeaderWish::Any)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<HeaderWish, E> {
                Ok(HeaderWish::Exact(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderWish, E> {
                Ok(HeaderWish::Exact(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Wish)
    }
}

/// A type that is written as a word or as a mapping.
macro_rules! word_or_mapping {
    ($type:ident, $mapping:ident, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl<'de> Visitor<'de> for Either {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, word: &str) -> Result<$type, E> {
                        Ok($type::Word(word.to_owned()))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        Deserialize::deserialize(MapAccessDeserializer::new(map)).map($type::$mapping)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }
    };
}

word_or_mapping!(RawKeys, At, "the word `discovery`, or a mapping with `url` or `file`");
word_or_mapping!(RawWho, Conditions, "the word `anyone`, or a mapping of conditions");

// What editors are told of these forms. Plain texts may be written as numbers or words too, see `schema`.

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for HeaderWish {
    fn schema_name() -> Cow<'static, str> {
        "HeaderWish".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "const": null }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for RawKeys {
    fn schema_name() -> Cow<'static, str> {
        "RawKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "discovery" }, generator.subschema_for::<RawKeyPlace>()] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for RawWho {
    fn schema_name() -> Cow<'static, str> {
        "RawWho".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "anyone" }, generator.subschema_for::<RawConditions>()] })
    }

    fn inline_schema() -> bool {
        true
    }
}
