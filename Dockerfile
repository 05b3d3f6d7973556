# relayd in a small image without root and without a shell's worth of tools.
#   docker build -t relayd .
#   docker run --network host -v ./relay:/etc/relayd:ro relayd
# Host networking, because a relay needs its thousands of UDP ports as they are, and clients' addresses too.

FROM rust:1.95-slim-trixie AS build
# aws-lc, the cryptography, is built from C with cmake.
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs && cargo build --release --locked && rm -rf src
COPY src src
COPY config config
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:trixie-slim
RUN useradd --system --uid 64064 --no-create-home --shell /usr/sbin/nologin relayd
# Upstreams' public roots are compiled in: no ca-certificates.
COPY --from=build /src/target/release/relayd /usr/local/bin/relayd
# Ports below 1024 without root, where the runtime grants the capability.
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin \
    && setcap cap_net_bind_service=+ep /usr/local/bin/relayd \
    && apt-get purge -y --auto-remove libcap2-bin && rm -rf /var/lib/apt/lists/*
USER relayd
WORKDIR /etc/relayd
EXPOSE 3478/udp 3478/tcp 443/tcp 5349/tcp 49152-65535/udp
# relayd drains for server.drain_timeout: stop it with --stop-timeout above that.
STOPSIGNAL SIGTERM
ENTRYPOINT ["relayd"]
CMD ["--config", "/etc/relayd/relay.toml"]
