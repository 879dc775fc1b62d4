"""Memory: predicted before, held during, measured after."""
