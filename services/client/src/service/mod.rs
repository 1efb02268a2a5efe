//! One function per method of the API, by service.

mod cluster;
mod guard;
mod ledger;
mod life;
mod policy;
mod tenant;
mod token;

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
    let services = [token::METHODS, tenant::METHODS, cluster::METHODS, ledger::METHODS, guard::METHODS];
    [services.concat(), life::METHODS.to_vec(), policy::METHODS.to_vec()].concat()
}
