//! Who calls is established here, once per request and before any service sees it: on a connection that lives for days
//! the answer can change from one request to the next.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap, Request, Response};
use tonic::Status;
use tower::{Layer, Service};

/// Decides from what a request brings and what its connection proved.
pub trait Authenticate: Send + Sync + 'static {
    /// What services find in the extensions of a request that was let through.
    type Identity: Clone + Send + Sync + 'static;

    /// Establishes the caller.
    ///
    /// # Errors
    /// The status that ends the call.
    fn authenticate(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Self::Identity, Box<Status>>;
}

/// Lets through whom an [`Authenticate`] knows, with the identity in the extensions of the request.
#[derive(Debug)]
pub struct AuthenticationLayer<A> {
    authenticate: Arc<A>,
}

impl<A: Authenticate> AuthenticationLayer<A> {
    /// A layer that asks `authenticate`.
    #[must_use]
    pub fn new(authenticate: Arc<A>) -> Self {
        Self { authenticate }
    }
}

impl<A> Clone for AuthenticationLayer<A> {
    fn clone(&self) -> Self {
        Self { authenticate: Arc::clone(&self.authenticate) }
    }
}

impl<A, S> Layer<S> for AuthenticationLayer<A> {
    type Service = AuthenticationService<A, S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthenticationService { inner, authenticate: Arc::clone(&self.authenticate) }
    }
}

/// A service behind [`AuthenticationLayer`].
#[derive(Debug)]
pub struct AuthenticationService<A, S> {
    inner: S,
    authenticate: Arc<A>,
}

impl<A, S: Clone> Clone for AuthenticationService<A, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), authenticate: Arc::clone(&self.authenticate) }
    }
}

impl<A, S, B, R> Service<Request<B>> for AuthenticationService<A, S>
where
    A: Authenticate,
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.authenticate.authenticate(request.headers(), request.extensions()) {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                Box::pin(self.inner.call(request))
            }
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    struct Door;

    impl Authenticate for Door {
        type Identity = String;

        fn authenticate(&self, headers: &HeaderMap, _: &Extensions) -> Result<String, Box<Status>> {
            let name = headers.get("name").and_then(|name| name.to_str().ok());
            name.map(str::to_owned).ok_or_else(|| Box::new(Status::unauthenticated("who?")))
        }
    }

    #[tokio::test]
    async fn a_service_sees_only_requests_with_an_identity() {
        let service = AuthenticationLayer::new(Arc::new(Door)).layer(service_fn(|request: Request<()>| async move {
            let name = request.extensions().get::<String>().cloned().unwrap();
            Ok::<_, Infallible>(Response::new(name))
        }));
        let mut request = Request::new(());
        request.headers_mut().insert("name", "alice".parse().unwrap());
        assert_eq!(service.clone().oneshot(request).await.unwrap().into_body(), "alice");

        let refused = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(refused.headers().get("grpc-status").unwrap(), "16");
        assert!(refused.body().is_empty());
    }
}
