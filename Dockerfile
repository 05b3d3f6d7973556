# relayd in a small image without root and without a shell's worth of tools.
#   docker build -t relayd .
#   docker run --network host -v ./relay:/etc/relayd:ro relayd
# Host networking, because a relay needs its thousands of UDP ports as they are, and clients' addresses too.

FROM rust:1.95-slim-trixie AS build
# For setcap. The C compiler that aws-lc, the cryptography, needs is there.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcap2-bin \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY Cargo.toml Cargo.lock ./
# The benches are members of the workspace: cargo wants to see them, and builds none of them.
COPY benches/turnbench/Cargo.toml benches/turnbench/
COPY benches/proxybench/Cargo.toml benches/proxybench/
COPY benches/rivals/Cargo.toml benches/rivals/
RUN for package in . benches/turnbench benches/proxybench benches/rivals; do \
        mkdir -p $package/src && echo 'fn main() {}' > $package/src/main.rs; \
    done \
    && touch src/lib.rs && cargo build --release --locked && rm -rf src
COPY src src
COPY config config
# The capability serves ports below 1024 without root. It travels with the file (BuildKit); a runtime that drops all
# capabilities must add NET_BIND_SERVICE.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked \
    && setcap cap_net_bind_service=+ep target/release/relayd

FROM debian:trixie-slim
RUN useradd --system --uid 64064 --no-create-home --shell /usr/sbin/nologin relayd
# Certificates that relayd obtains itself (tls.acme): mount a directory there that belongs to --user, or, without
# --user, a volume, so that no start asks again.
RUN install -d -o relayd -g relayd -m 0700 /var/lib/relayd
# Upstreams' public roots are compiled in: no ca-certificates.
COPY --from=build /src/target/release/relayd /usr/local/bin/relayd
USER relayd
WORKDIR /etc/relayd
EXPOSE 3478/udp 3478/tcp 443/tcp 5349/tcp 49152-65535/udp
# relayd drains for server.drain_timeout: stop it with --stop-timeout above that.
STOPSIGNAL SIGTERM
# Asks admin.listen of this very file: a container that is given another --config needs another check.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["relayd", "health", "--config", "/etc/relayd/relay.toml"]
ENTRYPOINT ["relayd"]
CMD ["--config", "/etc/relayd/relay.toml"]
