"""The collector: an OTLP/HTTP endpoint to which applications and OpenTelemetry Collectors export their spans."""
