"""Dashboards as code: `make dashboards` writes dashboards/*.json from the boards that are declared here."""
