# One image for every part: the program `umbriel`, and espeak-ng beside it.
#
# BASE must bring glibc 2.36 or later, the certificates of public authorities and espeak-ng.
# `make image` makes such a base of Debian packages, without asking any registry, and builds this.
ARG BASE
FROM ${BASE}
COPY umbriel /usr/bin/umbriel
COPY --chown=65532:65532 state /var/lib/umbriel
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /var/lib/umbriel
ENTRYPOINT ["/usr/bin/umbriel"]
