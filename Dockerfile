# kt3d on a CPU, with every plugin of this project: docker build -t kt3d .
# Data and results stay outside: docker run --rm -v "$PWD/kt3d-data:/kt3d/kt3d-data" kt3d demo
FROM python:3.11-slim
WORKDIR /opt/kt3d
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt .
WORKDIR /kt3d
VOLUME /kt3d/kt3d-data
ENTRYPOINT ["kt3d"]
CMD ["--help"]
