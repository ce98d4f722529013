# The resolver sidecar. Build:  docker build -t warta .
# Run:  docker run --network host --cap-drop ALL --cap-add NET_BIND_SERVICE \
#         -v /etc/warta:/etc/warta:ro -v warta-state:/var/lib/warta warta
FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/warta
COPY package.json package-lock.json ./
COPY deploy/install-libatomic.sh deploy/
# Node 26 comes as an npm package; the system's Node only installs it.
RUN npm ci --omit=dev
COPY src src
COPY policies policies
COPY config config

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends libatomic1 libcap2-bin \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --no-create-home --shell /usr/sbin/nologin warta \
 && install -d -o warta -g warta -m 0750 /var/lib/warta
COPY --from=build /opt/warta /opt/warta
# Ports 53, 80 and 443 without root: the one capability, on this copy of Node alone.
RUN setcap cap_net_bind_service=+ep /opt/warta/node_modules/node/bin/node
USER warta
WORKDIR /opt/warta
VOLUME /var/lib/warta
EXPOSE 53/udp 53/tcp 80/tcp 443/tcp 9100/tcp
ENTRYPOINT ["/opt/warta/node_modules/node/bin/node", "src/cli/warta.ts"]
# The gateway, with less memory:  docker run -e NODE_OPTIONS=--max-semi-space-size=2 \
#         -e NODE_COMPILE_CACHE=/var/lib/warta/compile-cache … warta gateway --config /etc/warta/gateway.yaml
CMD ["resolver", "--config", "/etc/warta/warta.yaml"]
