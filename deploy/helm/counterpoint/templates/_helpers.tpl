{{- define "counterpoint.name" -}}
{{- printf "%s" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The release in the image's tag; a digest leaves no doubt. Takes (dict "root" $ "image" "web"). */}}
{{- define "counterpoint.image" -}}
{{- $image := get .root.Values.images .image -}}
{{- $registry := .root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "counterpoint.labels" -}}
app.kubernetes.io/name: counterpoint
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: counterpoint
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "counterpoint.selector" -}}
app.kubernetes.io/name: counterpoint
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "counterpoint.host" -}}
{{- (urlParse .Values.site.url).hostname -}}
{{- end -}}

{{- define "counterpoint.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ . }}
runAsGroup: 0
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "counterpoint.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Settings that are no secret: the same in every pod, so that a change rolls all of them. */}}
{{- define "counterpoint.settings" -}}
- name: COUNTERPOINT_EMBEDDED
  value: never
- name: COUNTERPOINT_URL
  value: {{ .Values.site.url | quote }}
- name: ALLOWED_HOSTS
  value: {{ join "," (concat (list (include "counterpoint.host" .)) .Values.site.extraHosts) | quote }}
- name: TIME_ZONE
  value: {{ .Values.site.timeZone | quote }}
- name: LOG_LEVEL
  value: {{ .Values.site.logLevel }}
- name: DATABASE_TLS
  value: {{ .Values.database.tls.mode }}
{{- if .Values.database.tls.ca.existingSecret }}
- name: DATABASE_CA_FILE
  value: /etc/counterpoint/trust/database.crt
{{- end }}
{{- if .Values.redis.tls.ca.existingSecret }}
- name: REDIS_CA_FILE
  value: /etc/counterpoint/trust/redis.crt
{{- end }}
{{- with .Values.storage.s3 }}
{{- if .bucket }}
- name: S3_BUCKET
  value: {{ .bucket | quote }}
- name: S3_ENDPOINT
  value: {{ .endpoint | quote }}
- name: S3_PREFIX
  value: {{ .prefix | quote }}
- name: S3_REGION
  value: {{ .region | quote }}
- name: S3_PATH_STYLE
  value: {{ .pathStyle | quote }}
{{- if .ca.existingSecret }}
- name: S3_CA_FILE
  value: /etc/counterpoint/trust/s3.crt
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.monitoring.traces }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- if .ca.existingSecret }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/counterpoint/trust/traces.crt
{{- end }}
{{- end }}
{{- end }}
- name: RUN_LAUNCHER
  value: {{ .Values.runs.launcher }}
{{- if .Values.monitoring.enabled }}
- name: METRICS_PORT
  value: "9090"
- name: METRICS_ADDRESS
  value: {{ .Values.site.listen | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Whether files lie in a bucket, and this pod is one that reads them: a migration is not. */}}
{{- define "counterpoint.readsBucket" -}}
{{- if and .root.Values.storage.s3.bucket (not (has "owner" .extra)) }}yes{{ end }}
{{- end -}}

{{/* Whether a private authority is named: then its certificate is mounted. */}}
{{- define "counterpoint.trusts" -}}
{{- $v := .Values -}}
{{- if or $v.database.tls.ca.existingSecret $v.redis.tls.ca.existingSecret (and $v.storage.s3.bucket $v.storage.s3.ca.existingSecret) (and $v.monitoring.traces.endpoint $v.monitoring.traces.ca.existingSecret) }}yes{{ end }}
{{- end -}}

{{/* Where each secret lies as a file. Takes (dict "root" $ "extra" (list "model" "owner" "backup")). */}}
{{- define "counterpoint.secretSettings" -}}
- name: DATABASE_URL_FILE
  value: /etc/counterpoint/secrets/database-url
- name: REDIS_URL_FILE
  value: /etc/counterpoint/secrets/redis-url
- name: SECRET_KEY_FILE
  value: /etc/counterpoint/secrets/secret-key
- name: AUDIT_KEY_FILE
  value: /etc/counterpoint/secrets/audit-key
- name: SITE_KEY_FILE
  value: /etc/counterpoint/secrets/site-key
{{- if include "counterpoint.readsBucket" . }}
- name: S3_KEY_ID_FILE
  value: /etc/counterpoint/secrets/s3-key-id
- name: S3_SECRET_FILE
  value: /etc/counterpoint/secrets/s3-secret
{{- end }}
{{- if has "model" .extra }}
- name: MODEL_SECRET_FILE
  value: /etc/counterpoint/secrets/model-secret
{{- end }}
{{- if has "owner" .extra }}
- name: DATABASE_OWNER_URL_FILE
  value: /etc/counterpoint/secrets/database-owner-url
{{- end }}
{{- if has "backup" .extra }}
- name: DATABASE_BACKUP_URL_FILE
  value: /etc/counterpoint/secrets/database-backup-url
- name: BACKUP_KEY_FILE
  value: /etc/counterpoint/secrets/backup-key
{{- end }}
{{- end -}}

{{- define "counterpoint.secretVolume" -}}
{{- $v := .root.Values -}}
- name: secrets
  projected:
    defaultMode: 288 # 0440
    sources:
      - secret:
          name: {{ $v.secrets.existingSecret }}
          items:
            - {key: {{ $v.secrets.keys.secretKey }}, path: secret-key}
            - {key: {{ $v.secrets.keys.auditKey }}, path: audit-key}
            - {key: {{ $v.secrets.keys.siteKey }}, path: site-key}
            {{- if has "model" .extra }}
            - {key: {{ $v.secrets.keys.modelSecret }}, path: model-secret}
            {{- end }}
      - secret:
          name: {{ $v.database.existingSecret }}
          items: [{key: {{ $v.database.urlKey }}, path: database-url}]
      - secret:
          name: {{ $v.redis.existingSecret }}
          items: [{key: {{ $v.redis.urlKey }}, path: redis-url}]
      {{- if include "counterpoint.readsBucket" . }}
      - secret:
          name: {{ $v.storage.s3.existingSecret }}
          items:
            - {key: {{ $v.storage.s3.keyIdKey }}, path: s3-key-id}
            - {key: {{ $v.storage.s3.secretKey }}, path: s3-secret}
      {{- end }}
      {{- if has "owner" .extra }}
      - secret:
          name: {{ $v.database.owner.existingSecret }}
          items: [{key: {{ $v.database.owner.urlKey }}, path: database-owner-url}]
      {{- end }}
      {{- if has "backup" .extra }}
      - secret:
          name: {{ $v.backup.database.existingSecret }}
          items: [{key: {{ $v.backup.database.urlKey }}, path: database-backup-url}]
      - secret:
          name: {{ $v.backup.key.existingSecret }}
          items: [{key: {{ $v.backup.key.key }}, path: backup-key}]
      {{- end }}
{{- if include "counterpoint.trusts" .root }}
- name: trust
  projected:
    defaultMode: 292 # 0444
    sources:
      {{- with $v.database.tls.ca }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret }}
          items: [{key: {{ .key }}, path: database.crt}]
      {{- end }}
      {{- end }}
      {{- with $v.redis.tls.ca }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret }}
          items: [{key: {{ .key }}, path: redis.crt}]
      {{- end }}
      {{- end }}
      {{- with $v.storage.s3 }}
      {{- if and .bucket .ca.existingSecret }}
      - secret:
          name: {{ .ca.existingSecret }}
          items: [{key: {{ .ca.key }}, path: s3.crt}]
      {{- end }}
      {{- end }}
      {{- with $v.monitoring.traces }}
      {{- if and .endpoint .ca.existingSecret }}
      - secret:
          name: {{ .ca.existingSecret }}
          items: [{key: {{ .ca.key }}, path: traces.crt}]
      {{- end }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "counterpoint.claim" -}}
{{- default (printf "%s-data" (include "counterpoint.name" .)) .Values.storage.existingClaim -}}
{{- end -}}

{{/* Spread over nodes and zones where there are several; a cluster of one still schedules. */}}
{{- define "counterpoint.spread" -}}
{{- $selector := include "counterpoint.selector" . -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $selector | nindent 6 }}
{{- end }}
{{- end -}}

{{/*
One pod of the product. Takes a dict:
  root, component, image   whose pod it is and from which image
  of                       its values: resources, nodeSelector, tolerations, accelerator, ...
  command, env             what runs, and settings of its own (YAML)
  ports, probes            YAML; probes "alive": by the sign of life
  extra                    further secrets: model, owner, backup
  data                     "shared": the common volume; "none": a folder of its own
  account                  name of the ServiceAccount that gets a token; empty: none
  restart                  Never for Jobs
  mounts, volumes          further ones (YAML)
*/}}
{{- define "counterpoint.pod" -}}
{{- $of := .of -}}
{{- $accelerator := default dict $of.accelerator -}}
metadata:
  labels: {{- include "counterpoint.labels" . | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .component }}
    {{- with $of.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .account }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: {{ eq (toString .token) "true" }}
  enableServiceLinks: false
  {{- with .root.Values.global.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext: {{- include "counterpoint.podSecurity" .root | nindent 4 }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ default 30 $of.graceSeconds | int }}
  {{- with $of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $accelerator.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $of.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .restart }}
  topologySpreadConstraints: {{- include "counterpoint.spread" . | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "counterpoint.image" . }}
      imagePullPolicy: {{ .root.Values.images.pullPolicy }}
      args: {{- toYaml .command | nindent 8 }}
      env:
        {{- include "counterpoint.settings" .root | nindent 8 }}
        {{- include "counterpoint.secretSettings" . | nindent 8 }}
        - name: COUNTERPOINT_HOME
          value: /data
        {{- with .env }}
        {{- . | trim | nindent 8 }}
        {{- end }}
      {{- with .ports }}
      ports: {{- . | trim | nindent 8 }}
      {{- end }}
      {{- if eq (default "" .probes) "alive" }}
      startupProbe:
        exec: {command: [test, -e, /tmp/alive]}
        periodSeconds: 3
        failureThreshold: 60
      livenessProbe: # the process breathes; never whether an engine answers
        exec: {command: [sh, -c, 'test "$(find /tmp/alive -mmin -1)"']}
        periodSeconds: 30
        timeoutSeconds: 5
        failureThreshold: 3
      {{- else if .probes }}
      {{- .probes | trim | nindent 6 }}
      {{- end }}
      securityContext: {{- include "counterpoint.containerSecurity" . | nindent 8 }}
      resources:
        requests: {{- toYaml $of.resources.requests | nindent 10 }}
        limits:
          {{- toYaml $of.resources.limits | nindent 10 }}
          {{- if gt (int (default 0 $accelerator.count)) 0 }}
          {{ $accelerator.resource }}: {{ $accelerator.count }}
          {{- end }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: own, mountPath: /tmp, subPath: tmp}
        {{- if eq .data "shared" }}
        # Signs that mean one pod's processes alone: they would be misread by another pod.
        - {name: own, mountPath: /data/drain, subPath: drain}
        {{- end }}
        - {name: secrets, mountPath: /etc/counterpoint/secrets, readOnly: true}
        {{- if include "counterpoint.trusts" .root }}
        - {name: trust, mountPath: /etc/counterpoint/trust, readOnly: true}
        {{- end }}
        {{- if $of.sharedMemory }}
        - {name: memory, mountPath: /dev/shm}
        {{- end }}
        {{- with .mounts }}
        {{- . | trim | nindent 8 }}
        {{- end }}
  volumes:
    - name: data
      {{- if eq .data "shared" }}
      persistentVolumeClaim:
        claimName: {{ include "counterpoint.claim" .root }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: own
      emptyDir: {}
    {{- include "counterpoint.secretVolume" . | nindent 4 }}
    {{- if $of.sharedMemory }}
    - name: memory
      emptyDir: {medium: Memory, sizeLimit: {{ $of.sharedMemory }}}
    {{- end }}
    {{- with .volumes }}
    {{- . | trim | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "counterpoint.metricsPort" -}}
{{- if .Values.monitoring.enabled }}
- {name: metrics, containerPort: 9090}
{{- end }}
{{- end -}}
