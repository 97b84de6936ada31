-- For limits per day: what a deployment has used since its day began.
CREATE INDEX spend_logs_deployment ON spend_logs (deployment, started);
