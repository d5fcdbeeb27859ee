{{- define "platform.image" -}}
{{ .root.Values.image.registry }}{{ .name }}:{{ .root.Values.image.tag }}
{{- end }}

{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "platform.labels" -}}
{{ include "platform.selector" . }}
app.kubernetes.io/component: platform
app.kubernetes.io/part-of: dagster-taxi
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What every pod has: Pod Security "restricted". */}}
{{- define "platform.pod" -}}
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "platform.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
{{- end }}

{{- define "platform.database" -}}
- {name: PGHOST, value: {{ .Values.postgres.host | quote }}}
- {name: PGPORT, value: {{ .Values.postgres.port | quote }}}
{{- end }}

{{/* Webserver and daemon: a password file, which libpq demands to be the process's own, and the locations' files. */}}
{{- define "platform.host.init" -}}
- name: password-file
  image: {{ include "platform.image" (dict "root" . "name" "platform") }}
  {{- include "platform.container" . | nindent 2 }}
  command:
    - sh
    - -c
    - umask 077 && printf '*:*:*:dagster:%s\n' "$(cat /run/password/password)" > /run/credentials/pgpass
  volumeMounts:
    - {name: password, mountPath: /run/password, readOnly: true}
    - {name: credentials, mountPath: /run/credentials}
- name: first-locations
  image: {{ include "platform.image" (dict "root" . "name" "platform") }}
  {{- include "platform.container" . | nindent 2 }}
  command: [python, -m, platform_host.kubernetes_locations, --once]
  volumeMounts: {{- include "platform.host.locations" . | nindent 4 }}
{{- end }}

{{- define "platform.host.locations" -}}
- {name: run-policies, mountPath: /opt/dagster/run_policies}
- {name: workspace, mountPath: /opt/dagster/workspace}
- {name: door-key, mountPath: /run/door, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Beside webserver and daemon: brings the locations that come and go. */}}
{{- define "platform.host.sidecar" -}}
- name: locations
  image: {{ include "platform.image" (dict "root" .root "name" "platform") }}
  {{- include "platform.container" .root | nindent 2 }}
  command: [python, -m, platform_host.kubernetes_locations{{ with .option }}, {{ . }}{{ end }}]
  env:
    - {name: DOOR_KEY_FILE, value: /run/door/key}
  resources:
    requests: {cpu: 10m, memory: 100Mi}
    limits: {memory: 256Mi}
  volumeMounts: {{- include "platform.host.locations" .root | nindent 4 }}
{{- end }}

{{- define "platform.host.mounts" -}}
- {name: instance, mountPath: /opt/dagster/home, readOnly: true}
- {name: credentials, mountPath: /run/credentials, readOnly: true}
- {name: run-policies, mountPath: /opt/dagster/run_policies, readOnly: true}
- {name: workspace, mountPath: /opt/dagster/workspace, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "platform.host.volumes" -}}
- name: instance
  configMap: {name: dagster-instance}
- name: password
  secret: {secretName: dagster-credentials}
- name: door-key
  secret: {secretName: door-credentials, items: [{key: password, path: key}]}
- name: credentials
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: run-policies
  emptyDir: {}
- name: workspace
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* Stops an install with the reason, before anything is changed. A render without a cluster finds no namespace. */}}
{{- define "platform.check" -}}
{{- $namespace := .Release.Namespace }}
{{- if lookup "v1" "Namespace" "" $namespace }}
{{- $roles := concat (list "postgres" "dagster" "door") .Values.locations }}
{{- range $roles }}
{{- $name := printf "%s-credentials" (. | replace "_" "-") }}
{{- $found := lookup "v1" "Secret" $namespace $name }}
{{- if not (dig "data" "password" "" (default (dict) $found)) }}
{{- fail (printf "The Secret %s in the namespace %s has no key `password`. `make kubernetes-up` makes it; by hand: kubectl create secret generic %s --from-literal=password=…" $name $namespace $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
