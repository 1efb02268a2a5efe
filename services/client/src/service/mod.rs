//! One function per method of the API, by service.

mod access;
mod audit;
mod cluster;
mod guard;
mod ledger;
mod life;
mod policy;
mod purpose;
mod record;
mod seal;
mod tenant;
mod token;
mod transfer;

pub use audit::Audit;

use crate::call::Method;

/// A method whose repetition is harmless.
const fn repeatable(path: &'static str) -> Method {
    Method { path, repeatable: true }
}

/// A method that is repeated only when nothing can have happened.
const fn once(path: &'static str) -> Method {
    Method { path, repeatable: false }
}

/// Every method with a function here, for the test that compares them with the API.
#[cfg(test)]
pub(crate) fn methods() -> Vec<&'static Method> {
    let admin = [tenant::METHODS, cluster::METHODS, ledger::METHODS, guard::METHODS, purpose::METHODS].concat();
    let admin = [admin.as_slice(), transfer::METHODS].concat();
    [token::METHODS, life::METHODS, record::METHODS, seal::METHODS, access::METHODS, policy::METHODS, admin.as_slice()]
        .concat()
}
