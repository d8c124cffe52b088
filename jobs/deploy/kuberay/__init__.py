"""maskmill on Kubernetes, by KubeRay."""
