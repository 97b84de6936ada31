SELECT DISTINCT name FROM changes WHERE at > clock_timestamp() - $1 * interval '1 second'
