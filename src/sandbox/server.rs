//! The port: accepts connections, tells the services apart, and shuts down without cutting answers off.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use s3s::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::admin;
use super::bedrock::{self, Bedrock};
use super::line::{Cord, Line};
use super::stats::Stats;
use super::storage::Storage;
use super::weather::Weather;

/// How long a stop waits for running requests.
const GRACE: Duration = Duration::from_secs(5);
/// Out of file descriptors is the usual reason why a connection can not be accepted; it passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The task that owns the port. Dropping this ends it and all its connections.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// Everything that answers on the port.
pub struct Services {
    pub storage: Storage,
    pub bedrock: Bedrock,
    pub weather: Arc<Weather>,
    pub stats: Arc<Stats>,
}

/// What becomes of a request.
pub enum Outcome {
    Answer(Response<Body>),
    /// The connection stays open and nothing comes.
    Hang,
    /// The connection is closed in good order, without an answer.
    HangUp,
    /// The connection is reset.
    Reset,
}

impl Server {
    pub fn start(listener: TcpListener, services: Services) -> Server {
        let (stop, stopped) = watch::channel(false);
        Server { stop, accepting: tokio::spawn(accept(listener, Arc::new(services), stopped)) }
    }

    pub async fn stop(mut self) {
        // Fails only when the task is gone already.
        let _ = self.stop.send(true);
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve(socket, Arc::clone(&services), stopped.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
            // What a finished connection returns is nothing; taking it keeps the set small.
            Some(_) = connections.join_next() => {}
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => break,
        }
    }
    drop(listener);
    // Connections that outlast the grace time are cut when the set is dropped.
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve(socket: TcpStream, services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let (line, cord) = Line::new(socket);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let handler = service_fn(|request| {
        let (services, cord) = (Arc::clone(&services), Arc::clone(&cord));
        async move { Ok::<_, Infallible>(services.answer(request, &cord).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(line), handler));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // Dropping the connection is what ends it; the line knows how.
        () = cord.pulled() => return,
        () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
            if cord.is_silent() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = cord.pulled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Services {
    async fn answer(&self, request: Request<Incoming>, cord: &Arc<Cord>) -> Response<Body> {
        if admin::is_admin(request.uri().path()) {
            return admin::answer(&request, self);
        }
        let outcome = if is_bedrock(&request) {
            self.bedrock.answer(request, cord).await
        } else {
            self.storage.answer(request).await
        };
        match outcome {
            Outcome::Answer(response) => return response,
            Outcome::Hang => cord.fall_silent(),
            Outcome::HangUp => cord.hang_up(),
            Outcome::Reset => cord.reset(),
        }
        // Until the connection is dropped, by whoever drives it.
        std::future::pending().await
    }
}

/// The service in the signature decides. Without a signature, a bearer token is Bedrock's, and so is a POST to a model.
fn is_bedrock(request: &Request<Incoming>) -> bool {
    let authorization =
        request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match authorization.map(str::trim) {
        _ if bedrock::is_quotas(request.headers()) => true,
        Some(value) if value.starts_with("Bearer ") => true,
        Some(value) => match bedrock::signed_service(value) {
            Some(service) => service.starts_with("bedrock"),
            None => is_model_call(request),
        },
        None => is_model_call(request),
    }
}

fn is_model_call(request: &Request<Incoming>) -> bool {
    request.method() == Method::POST
        && bedrock::model_call(request.uri().path()).is_some()
        // A presigned S3 request signs in its query.
        && request.uri().query().is_none()
}
