//! Tests of authentication as a whole; those of one file's own rules stand in that file.

mod fetch;
mod flow;
mod idp;
mod jwt_claims;
mod jwt_form;
mod jwt_keys;
mod sessions;
mod signed;
mod support;
