# syntax=docker/dockerfile:1
# Onward in a container: no shell, no package manager, no root.
#   docker build -t onward .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 8443:8443 \
#     -v onward-data:/var/lib/onward -v ./etc:/etc/onward:ro onward
# For a build that can be repeated, pin both images by digest: `docker buildx imagetools inspect NAME` prints it, and it goes behind the
# name below (rust:1.95.0-slim-bookworm@sha256:…). A digest is as old as its image: renew it with the compiler, and monthly.
# Keys in ./etc belong to the user 65532 and to nobody else (chown 65532, chmod 600): others' stop the start.

FROM rust:1.95.0-slim-bookworm AS builder
WORKDIR /build
# rust-toolchain.toml stays out: the image is the pinned compiler, and rustup would fetch rustfmt and clippy.
COPY Cargo.toml Cargo.lock ./
COPY config config
COPY profiles profiles
COPY fixtures fixtures
COPY crates crates
COPY tests tests
RUN cargo build --release --locked --package onward-server \
 && install -D target/release/onward /image/usr/local/bin/onward \
 && install -d -m 0700 /image/var/lib/onward

# glibc, certificate authorities and time zones, which British local time needs.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder --chown=nonroot:nonroot /image/var/lib/onward /var/lib/onward
COPY --from=builder /image/usr/local/bin/onward /usr/local/bin/onward
COPY LICENSE /usr/share/doc/onward/LICENSE
USER nonroot:nonroot
WORKDIR /var/lib/onward
VOLUME /var/lib/onward
# The configuration's folder is read-only, so the audit log's key is made in the volume at first. Better: make it elsewhere, mount
# it, and name it here: who has both the database and this key can rewrite the log.
# Two of glibc's arenas: one for each of many threads takes a quarter more memory under load.
ENV MALLOC_ARENA_MAX=2 \
    ONWARD__SERVER__LISTEN=0.0.0.0:8443 \
    ONWARD__STORE__URL=sqlite:/var/lib/onward/onward.db \
    ONWARD__AUDIT__SIGNING_KEY_FILE=/var/lib/onward/audit-signing.key
EXPOSE 8443
# Asks the operations listener, which stays on the container's loopback.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
  CMD ["/usr/local/bin/onward", "healthcheck", "--config", "/etc/onward/gateway.toml"]
# SIGTERM drains open requests for up to 30 seconds: stop with `--time 35`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/onward"]
CMD ["serve", "--config", "/etc/onward/gateway.toml"]
