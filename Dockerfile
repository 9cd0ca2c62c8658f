# The book, built from the lock; started, the image tests it. The README has the commands.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates chromium git libatomic1 make python3.11-venv \
    && rm -rf /var/lib/apt/lists/*
# Give the page of PyTorch's CPU wheels as --build-arg, and the image is half as large; the lock knows the hashes of both.
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 CI=true
WORKDIR /book
COPY . .
RUN make install .venv/.classroom
RUN make book
CMD ["make", "test"]
