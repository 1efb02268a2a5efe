//! The accept loop: TCP → TLS → a caller, as a stream for `tonic`'s `serve_with_incoming`.
//!
//! It never ends before shutdown: `accept` failing for lack of descriptors, garbage instead of TLS and silent
//! connections each cost their own connection at most.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use fuda_core::ids::CallerId;
use opentelemetry::metrics::Meter;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::metrics::{ListenerMetrics, OpenConnection, Refusal};
use crate::revocation::Revocations;
use crate::tls::{IdentityError, PeerIdentity, ServerTls};

/// Established connections waiting for the server to pick them up.
const ESTABLISHED_QUEUE_MAX: usize = 64;
/// Pause after a failed `accept`: descriptors come back when connections end, spinning would not help them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG_MAX: i32 = 1024;

/// Limits of one listener.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Where to listen.
    pub address: SocketAddr,
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// Open connections, handshakes included; more are closed at once.
    pub connections_max: usize,
    /// Handshakes at a time; more wait in the kernel's queue.
    pub handshakes_max: usize,
    /// Time for a handshake.
    pub handshake_timeout: Duration,
    /// Silence after which TCP asks whether the other side is still there.
    pub keepalive: Duration,
    /// Certificates that are refused although they are good.
    pub revocations: Option<Arc<Revocations>>,
}

impl ListenerOptions {
    /// 10,000 connections, 256 handshakes at a time of 5 s each, keepalive after 30 s.
    #[must_use]
    pub fn new(address: SocketAddr, name: &'static str) -> Self {
        Self {
            address,
            name,
            connections_max: 10_000,
            handshakes_max: 256,
            handshake_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(30),
            revocations: None,
        }
    }
}

/// A bound port. Turn it into a stream of connections with [`TlsListener::into_incoming`].
pub struct TlsListener {
    listener: TcpListener,
    acceptor: Acceptor,
    shutdown: CancellationToken,
}

impl TlsListener {
    /// Binds the port; `tls` is asked anew at every handshake. After `shutdown` no connection is accepted.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        options: ListenerOptions,
        tls: Arc<ServerTls>,
        meter: &Meter,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let listener = bind(options.address)?;
        let acceptor = Acceptor {
            connections: Arc::new(Semaphore::new(options.connections_max)),
            handshakes: Arc::new(Semaphore::new(options.handshakes_max)),
            metrics: ListenerMetrics::new(meter, options.name),
            options: Arc::new(options),
            tls,
        };
        Ok(Self { listener, acceptor, shutdown })
    }

    /// The address bound, with the port the kernel chose if 0 was asked for.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts accepting. The stream yields only `Ok` and ends after shutdown; dropping it stops accepting.
    #[must_use]
    pub fn into_incoming(self) -> TlsIncoming {
        let (sender, receiver) = mpsc::channel(ESTABLISHED_QUEUE_MAX);
        tokio::spawn(accept_loop(self.listener, self.acceptor, sender, self.shutdown));
        TlsIncoming { receiver }
    }
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsListener").field("options", &self.acceptor.options).finish_non_exhaustive()
    }
}

/// Connections with an established caller.
#[derive(Debug)]
pub struct TlsIncoming {
    receiver: mpsc::Receiver<TlsConnection>,
}

impl tokio_stream::Stream for TlsIncoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

/// What is at the other end; in the extensions of every request of the connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// What its certificate says; `None` where the listener's TLS takes callers without one, and this is one.
    pub certificate: Option<Arc<PeerIdentity>>,
    /// Its network address, which identifies nobody.
    pub remote_addr: SocketAddr,
}

impl PeerInfo {
    /// The SPIFFE id of its certificate, if it is still valid at `now`: a connection may outlive its certificate, so
    /// this is asked at every request.
    #[must_use]
    pub fn caller_at(&self, now: SystemTime) -> Option<&CallerId> {
        self.certificate.as_ref().filter(|identity| now < identity.not_after).map(|identity| &identity.caller)
    }
}

/// An established connection; counts against its listener's limit until dropped.
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: PeerInfo,
    _slot: Slot,
}

impl std::fmt::Debug for TlsConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsConnection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// One of `connections_max`, and its place in the gauge.
struct Slot {
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

/// What a handshake needs; shared by all of them.
#[derive(Clone)]
struct Acceptor {
    options: Arc<ListenerOptions>,
    tls: Arc<ServerTls>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    metrics: Arc<ListenerMetrics>,
}

async fn accept_loop(
    listener: TcpListener,
    acceptor: Acceptor,
    established: mpsc::Sender<TlsConnection>,
    shutdown: CancellationToken,
) {
    loop {
        let step = acceptor.step(&listener, &established);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = established.closed() => return,
            () = step => {}
        }
    }
}

impl Acceptor {
    /// Waits for room for a handshake, then for a connection, and starts its handshake.
    async fn step(&self, listener: &TcpListener, established: &mpsc::Sender<TlsConnection>) {
        // The semaphore is never closed, so this only ever waits.
        let Ok(turn) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
        let (stream, remote_addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                self.metrics.refused(Refusal::Accept);
                tracing::warn!(listener = self.options.name, %error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return;
            }
        };
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.metrics.refused(Refusal::ConnectionLimit);
            return;
        };
        let slot = Slot { _permit: permit, _open: self.metrics.opened() };
        let (acceptor, established) = (self.clone(), established.clone());
        tokio::spawn(async move {
            let outcome = acceptor.establish(stream, remote_addr).await;
            drop(turn);
            match outcome {
                Ok((stream, peer)) => {
                    acceptor.metrics.accepted();
                    // Fails only when the server stopped; the connection is then closed with it.
                    let _ = established.send(TlsConnection { stream, peer, _slot: slot }).await;
                }
                Err(failure) => acceptor.refuse(&failure, remote_addr),
            }
        });
    }

    async fn establish(
        &self,
        stream: TcpStream,
        remote_addr: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, PeerInfo), HandshakeFailure> {
        stream.set_nodelay(true).map_err(HandshakeFailure::Tls)?;
        let keepalive = TcpKeepalive::new().with_time(self.options.keepalive).with_interval(self.options.keepalive / 3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(HandshakeFailure::Tls)?;
        let handshake = TlsAcceptor::from(self.tls.config()).accept(stream);
        let stream = tokio::time::timeout(self.options.handshake_timeout, handshake)
            .await
            .map_err(|_| HandshakeFailure::Timeout)?
            .map_err(HandshakeFailure::Tls)?;
        // Without a certificate the handshake ends well only where `ServerTls` lets it.
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = certificate.map(PeerIdentity::from_certificate).transpose();
        let certificate = identity.map_err(HandshakeFailure::Identity)?.map(Arc::new);
        let refused = |identity: &Arc<PeerIdentity>| {
            let revocations = self.options.revocations.as_ref();
            revocations.is_some_and(|revocations| revocations.refuse(&identity.caller, Some(identity)))
        };
        if certificate.as_ref().is_some_and(refused) {
            return Err(HandshakeFailure::Revoked);
        }
        let peer = PeerInfo { certificate, remote_addr };
        Ok((stream, peer))
    }

    fn refuse(&self, failure: &HandshakeFailure, remote_addr: SocketAddr) {
        self.metrics.refused(match failure {
            HandshakeFailure::Timeout => Refusal::HandshakeTimeout,
            HandshakeFailure::Tls(_) => Refusal::Handshake,
            HandshakeFailure::Identity(_) => Refusal::Identity,
            HandshakeFailure::Revoked => Refusal::Revoked,
        });
        tracing::debug!(listener = self.options.name, %remote_addr, %failure, "connection refused");
    }
}

#[derive(Debug, thiserror::Error)]
enum HandshakeFailure {
    #[error("handshake took too long")]
    Timeout,
    #[error("handshake failed: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Identity(IdentityError),
    #[error("certificate or caller is revoked")]
    Revoked,
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests;
