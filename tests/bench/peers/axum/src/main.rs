//! What one writes with axum and rdkafka instead of using the module: each
//! file of a form, or a whole body, is one message, and the answer is sent
//! once all of them are acknowledged by all replicas.
//!
//! Takes PORT, BROKERS, TOPIC and, to differ from librdkafka's default,
//! LINGER_MS from the environment.  Files leave while the form still arrives.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::Router;
use rdkafka::config::ClientConfig;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::env;
use std::fmt::Display;
use std::sync::Arc;

struct Sink {
    producer: FutureProducer,
    topic: String,
}

type Failure = (StatusCode, String);

fn client_fault(why: impl Display) -> Failure {
    (StatusCode::BAD_REQUEST, why.to_string())
}

fn our_fault(why: impl Display) -> Failure {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

impl Sink {
    fn send(&self, data: &[u8]) -> Result<DeliveryFuture, Failure> {
        self.producer
            .send_result(FutureRecord::<(), [u8]>::to(&self.topic).payload(data))
            .map_err(|(why, _)| our_fault(why))
    }
}

async fn acknowledged(sent: Vec<DeliveryFuture>) -> Result<(StatusCode, String), Failure> {
    let files = sent.len();
    for report in sent {
        report
            .await
            .map_err(our_fault)?
            .map_err(|(why, _)| our_fault(why))?;
    }
    Ok((StatusCode::ACCEPTED, format!("{{\"files\":{files}}}\n")))
}

async fn form(
    State(sink): State<Arc<Sink>>,
    mut parts: Multipart,
) -> Result<(StatusCode, String), Failure> {
    let mut sent = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(client_fault)? {
        if part.file_name().is_some() {
            let data = part.bytes().await.map_err(client_fault)?;
            sent.push(sink.send(&data)?);
        }
    }
    acknowledged(sent).await
}

async fn raw(
    State(sink): State<Arc<Sink>>,
    data: Bytes,
) -> Result<(StatusCode, String), Failure> {
    acknowledged(vec![sink.send(&data)?]).await
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[tokio::main]
async fn main() {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", required("BROKERS"))
        .set("acks", "all");
    if let Ok(ms) = env::var("LINGER_MS") {
        config.set("linger.ms", ms);
    }

    let sink = Arc::new(Sink {
        producer: config.create().expect("producer"),
        topic: required("TOPIC"),
    });
    let app = Router::new()
        .route("/form", post(form))
        .route("/raw", post(raw))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(sink);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", required("PORT")))
        .await
        .expect("listen");

    axum::serve(listener, app).await.expect("serve");
}
