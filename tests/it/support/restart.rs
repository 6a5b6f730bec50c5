//! A gateway that ends and begins anew: the same configuration, addresses and token each time.

use std::net::{SocketAddr, TcpListener};

use countersign::auth::app_token;

use super::process::Served;
use super::{Client, Setup};

/// What stays the same over restarts.
pub struct Lasting {
    setup: Setup,
    configuration: String,
    hash: String,
    env: Vec<(String, String)>,
    pub token: String,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

/// An address that is free now. Somebody else may take it, so it is for what cannot have port 0 alone.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Lasting {
    pub fn new(setup: Setup) -> Self {
        let (token, hash) = app_token::generate();
        Self::with_token(setup, token.expose(), &hash)
    }

    /// Another gateway with the same setup and token.
    pub fn sibling(&self) -> Self {
        Self { env: self.env.clone(), ..Self::with_token(self.setup.clone(), &self.token, &self.hash) }
    }

    fn with_token(setup: Setup, token: &str, hash: &str) -> Self {
        let (address, admin) = (free_address(), free_address());
        let configuration = setup.text().replacen("address: 127.0.0.1:0", &format!("address: {address}"), 1).replacen(
            "address: 127.0.0.1:0",
            &format!("address: {admin}"),
            1,
        );
        let (token, hash) = (token.to_owned(), hash.to_owned());
        Self { setup, configuration, hash, env: Vec::new(), token, address, admin }
    }

    /// With a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// Of the token.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub async fn start(&self) -> Served {
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.push(("HASH_A", &self.hash));
        Served::start_with(&self.setup, &self.configuration, &env).await
    }

    /// The client of tenant `a`.
    pub fn client(&self) -> Client {
        self.client_at(self.address)
    }

    /// The same, by way of another address.
    pub fn client_at(&self, address: SocketAddr) -> Client {
        Client { address, token: self.token.clone() }
    }

    pub async fn ask_admin(&self, path: &str) -> super::Response {
        Client { address: self.admin, token: String::new() }.send_plain("GET", path, &[], "").await
    }
}
