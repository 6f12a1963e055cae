"""Models of new physics: particles, kinematics, cross sections, priors, files."""
