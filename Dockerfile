# kt3d on a CPU, with every plugin of this project: docker build -t kt3d .
# Data and results stay outside: docker run --rm -v "$PWD/kt3d-data:/kt3d/kt3d-data" kt3d demo
FROM python:3.11-slim
WORKDIR /opt/kt3d
COPY . .
# --build-arg PIP_EXTRA_INDEX_URL=... with the address of an index of CPU builds of torch keeps the image small.
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir -c constraints.txt .
WORKDIR /kt3d
VOLUME /kt3d/kt3d-data
ENTRYPOINT ["kt3d"]
CMD ["--help"]
