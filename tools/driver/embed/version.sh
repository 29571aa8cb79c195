# every place that states the version states the one of nestlock/version.h

embed_version() { step "one version" test/embed/version_test.sh; }
