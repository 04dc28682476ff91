//! The port: accepts connections, tells S3 requests from Bedrock ones, and shuts down without cutting answers off.

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
use s3s::service::S3Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::bedrock::{self, Bedrock};

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

struct Services {
    s3: S3Service,
    bedrock: Bedrock,
}

impl Server {
    pub fn start(listener: TcpListener, s3: S3Service, bedrock: Bedrock) -> Server {
        let (stop, stopped) = watch::channel(false);
        let services = Arc::new(Services { s3, bedrock });
        Server { stop, accepting: tokio::spawn(accept(listener, services, stopped)) }
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
    // Answers are small and clients wait for them; failing to say so only makes them later.
    let _ = socket.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let handler = service_fn(move |request| {
        let services = Arc::clone(&services);
        async move { Ok::<_, Infallible>(services.answer(request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), handler));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Services {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if is_bedrock(&request) {
            return self.bedrock.answer(request).await.map(Body::from);
        }
        match self.s3.call(request.map(Body::from)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(?error, "the S3 service failed");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

/// The service in the signature decides. Without a signature, a bearer token is Bedrock's, and so is a POST to a model.
fn is_bedrock(request: &Request<Incoming>) -> bool {
    let authorization =
        request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match authorization.map(str::trim) {
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
