{{- define "countersign.name" -}}
{{- default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "countersign.selector" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "countersign.labels" -}}
{{ include "countersign.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "countersign.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "countersign.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.name: which account, if none is created?" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "countersign.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "countersign.configMap" -}}
{{- default (include "countersign.name" .) .Values.existingConfigMap -}}
{{- end }}

{{/* What a container may do: nothing beyond its own process. Fits the restricted Pod Security Standard. */}}
{{- define "countersign.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "countersign.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/*
A gateway beside an application, in the same pod: an entry of `initContainers` for charts of yours, which name this one as a dependency with
`gateway.enabled: false`. A whole one: deploy/helm/examples/sidecar. Takes a dict:
  image          the whole name
  config         the volume with countersign.yaml; default countersign-config
  env, envFrom, volumeMounts   more entries of these lists: what the configuration names as `env:` and `file:`
  resources      as in a container
  adminPort      the port of `admin.address`, which is on loopback; default 9090
As an init container with restartPolicy Always it runs before the application and ends after it.
*/}}
{{- define "countersign.sidecar" -}}
name: countersign
image: {{ required "image" .image }}
restartPolicy: Always
args: [serve, --config, /etc/countersign/config/countersign.yaml]
env:
  - name: COUNTERSIGN_ADMIN
    value: http://127.0.0.1:{{ default 9090 .adminPort | int }}
  {{- with .env }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with .envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
startupProbe:
  exec: { command: [/usr/local/bin/countersign, health] }
  periodSeconds: 1
  failureThreshold: 60
  timeoutSeconds: 4
livenessProbe:
  exec: { command: [/usr/local/bin/countersign, health, --live] }
  timeoutSeconds: 4
resources: {{ default (dict "requests" (dict "cpu" "50m" "memory" "64Mi") "limits" (dict "memory" "256Mi")) .resources | toJson }}
securityContext:
{{- include "countersign.containerSecurity" . | nindent 2 }}
volumeMounts:
  - { name: {{ default "countersign-config" .config | quote }}, mountPath: /etc/countersign/config, readOnly: true }
  {{- with .volumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{/* "yes" if the admin listener can be reached from outside of the pod. */}}
{{- define "countersign.adminIsOpen" -}}
{{- $address := dig "admin" "address" "127.0.0.1:9090" .Values.config -}}
{{- if not (or (hasPrefix "127." $address) (hasPrefix "[::1]" $address)) -}}yes{{- end -}}
{{- end }}

{{/* Seconds of a duration of the configuration, for sums. */}}
{{- define "countersign.seconds" -}}
{{- if regexMatch "^[0-9]+ms$" . }}1
{{- else if regexMatch "^[0-9]+s$" . }}{{ trimSuffix "s" . }}
{{- else if regexMatch "^[0-9]+m$" . }}{{ mul 60 (trimSuffix "m" . | int) }}
{{- else }}{{ fail (printf "config.limits.timeouts: write %s as seconds (90s) or minutes (2m)" .) }}
{{- end }}
{{- end }}

{{/* How a probe asks: by the program, on loopback. A listener with TLS is asked by the kubelet, which knows no certificate to compare with. */}}
{{- define "countersign.probe" -}}
{{- if dig "admin" "tls" false .root.Values.config -}}
{{- if not (include "countersign.adminIsOpen" .root) }}{{ fail "config.admin.tls: probes cannot reach it on loopback; set config.admin.address to 0.0.0.0:9090, or leave TLS off" }}{{ end -}}
httpGet: { path: {{ .path }}, port: admin, scheme: HTTPS }
{{- else if eq .path "/healthz" -}}
exec: { command: [/usr/local/bin/countersign, health, --live] }
{{- else -}}
exec: { command: [/usr/local/bin/countersign, health] }
{{- end }}
{{- end }}
