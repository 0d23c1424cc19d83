{{/* Probes speak to the pod's address: the Host header names the site, which answers to no other. */}}
{{- define "counterpoint.webProbes" -}}
{{- $host := include "counterpoint.host" . -}}
startupProbe:
  httpGet: {path: /healthz, port: http, httpHeaders: [{name: Host, value: {{ $host | quote }}}]}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe: # never the database: an outage there must not restart the web
  httpGet: {path: /healthz, port: http, httpHeaders: [{name: Host, value: {{ $host | quote }}}]}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe: # also refuses while migrations are pending
  httpGet: {path: /readyz, port: http, httpHeaders: [{name: Host, value: {{ $host | quote }}}]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
lifecycle:
  preStop: # balancers hear of the end before the process does
    exec: {command: [sleep, "5"]}
{{- end -}}

{{- define "counterpoint.autoscaler" -}}
{{- $name := printf "%s-%s" (include "counterpoint.name" .root) .component -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  labels: {{- include "counterpoint.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ .of.autoscaling.minReplicas }}
  maxReplicas: {{ .of.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .of.autoscaling.targetCPU }}}
  behavior:
    scaleDown: # streams and loaded models are worth waiting for
      stabilizationWindowSeconds: 600
      policies: [{type: Pods, value: 1, periodSeconds: 300}]
{{- end -}}

{{- define "counterpoint.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "counterpoint.name" .root }}-{{ .component }}
  labels: {{- include "counterpoint.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .of.disruption.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "counterpoint.selector" . | nindent 6 }}
{{- end -}}

{{/* A model server listens at its pod's own address, which it writes down for the web processes. */}}
{{- define "counterpoint.hostSettings" -}}
- {name: ALIVE_FILE, value: /tmp/alive}
- name: COUNTERPOINT_HOST_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: COUNTERPOINT_HOST_ADDRESS
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: COUNTERPOINT_HOST_PORTS
  value: {{ printf "%d-%d" (int .Values.hosts.ports.first) (int .Values.hosts.ports.last) | quote }}
{{- with .Values.hosts.threads }}
- name: COUNTERPOINT_SERVE_THREADS
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What the launcher needs to make a Job like this pod. */}}
{{- define "counterpoint.launcherSettings" -}}
- name: RUN_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: RUN_IMAGE
  value: {{ include "counterpoint.image" (dict "root" .root "image" "worker") }}
- name: RUN_VOLUME_CLAIM
  value: {{ include "counterpoint.claim" .root }}
- name: RUN_NODES
  value: {{ .root.Values.runs.nodes | quote }}
- name: RUN_RESOURCES
  value: {{ toJson .root.Values.runs.resources | quote }}
{{- end -}}
