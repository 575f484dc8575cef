"""What benchmarks start and watch: programs, their places, the machine they run on."""
