# The book, built from the lock; started, the image tests it. The README has the commands.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates chromium git libatomic1 make python3.11-venv \
    && rm -rf /var/lib/apt/lists/*
# Where pip finds PyTorch's CPU wheel, whose hash the lock knows.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_NO_CACHE_DIR=1 CI=true
WORKDIR /book
COPY . .
RUN make install .venv/.classroom
RUN make book
CMD ["make", "test"]
