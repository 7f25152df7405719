# One image for every role: the one binary, as a user without rights. `docker compose up --build` uses it.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package tradewind && cp target/release/tradewind /tradewind

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 tradewind
COPY --from=build /tradewind /usr/local/bin/tradewind
USER tradewind
ENTRYPOINT ["tradewind"]
CMD ["--help"]
