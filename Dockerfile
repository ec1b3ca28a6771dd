# The README's lines in an image. It needs no network when it runs, and writes nowhere but into what is mounted:
# docker build -t deepfake-detect .
# docker run --rm --network none --read-only --tmpfs /tmp -v "$PWD:/media:ro" deepfake-detect clip.mp4
FROM python:3.11-slim
WORKDIR /source
# First, or pip takes a build for GPUs of several gigabytes.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY deepfake_detect deepfake_detect
COPY weights weights
RUN pip install --no-cache-dir ".[serve]"
RUN useradd --create-home --uid 1000 examiner
USER examiner
WORKDIR /media
ENTRYPOINT ["deepfake-detect"]
