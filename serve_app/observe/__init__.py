"""What Prometheus and Grafana are told: one table of recording rules, alerts and panels."""
