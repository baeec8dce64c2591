//! The harness of the end-to-end tests: a running Umbriel, real callers and a real mail server.
//!
//! Decides how a scenario is set up, observed and taken down. Refuses to know how Umbriel works
//! inside: it starts the program, writes files into its folder, speaks to it over sockets, and
//! judges what arrives by code of its own.

pub mod api;
pub mod audio;
pub mod audit;
pub mod callers;
pub mod clock;
pub mod cluster;
pub mod exposed;
pub mod house;
pub mod image;
pub mod installed;
pub mod kamailio;
pub mod load;
pub mod mail;
pub mod monitor;
pub mod names;
mod need;
pub mod office;
pub mod operator;
pub mod phone;
pub mod pod;
pub mod proxy;
pub mod s3;
pub mod scenarios;
pub mod site;
pub mod tls;
pub mod volume;
pub mod wire;

pub use cluster::Cluster;
pub use house::{House, HouseBuilder};
pub use need::{has, is_root, skip, wait_until};
pub use s3::S3Server;
pub use site::Site;
