{{- define "location.name" -}}
{{ .Values.location | replace "_" "-" }}
{{- end }}

{{- define "location.image" -}}
{{ .Values.image.registry }}{{ .Values.location }}:{{ .Values.image.tag }}
{{- end }}

{{/* The network policies and the launcher's runs have these names, too (services/dagster/platform_host/kubernetes_policy.py). */}}
{{- define "location.selector" -}}
app.kubernetes.io/name: {{ include "location.name" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "location.labels" -}}
{{ include "location.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: dagster-taxi
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What every pod has: Pod Security "restricted", and no access to the API. */}}
{{- define "location.pod" -}}
automountServiceAccountToken: false
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

{{- define "location.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
{{- end }}

{{/* The settings of the code server and of the runs. */}}
{{- define "location.environment" -}}
{{- $postgres := dict "PGHOST" .Values.postgres.host "PGPORT" (toString .Values.postgres.port) "PGUSER" .Values.location "WAREHOUSE_HOST" .Values.postgres.host "WAREHOUSE_PORT" (toString .Values.postgres.port) }}
{{- mergeOverwrite $postgres .Values.environment | toJson }}
{{- end }}

{{- define "location.env" -}}
{{- range $name, $value := include "location.environment" . | fromJson }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* libpq ignores a password file that others may read, and a mounted Secret belongs to root. */}}
{{- define "location.password-file" -}}
- name: password-file
  image: {{ include "location.image" . }}
  {{- include "location.container" . | nindent 2 }}
  command:
    - sh
    - -c
    - umask 077 && printf '*:*:*:%s:%s\n' "$PGUSER" "$(cat /run/password/password)" > /run/credentials/pgpass
  env:
    - {name: PGUSER, value: {{ .Values.location }}}
  volumeMounts:
    - {name: password, mountPath: /run/password, readOnly: true}
    - {name: credentials, mountPath: /run/credentials}
{{- end }}

{{- define "location.mounts" -}}
- {name: credentials, mountPath: /run/credentials, readOnly: true}
- {name: secrets, mountPath: /run/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "location.volumes" -}}
- name: password
  secret: {secretName: {{ include "location.name" . }}-credentials}
- name: secrets
  secret: {secretName: {{ include "location.name" . }}-secrets, optional: true}
- name: credentials
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* Stops an install with the reason, before anything is changed. A render without a cluster finds no namespace. */}}
{{- define "location.check" -}}
{{- $name := include "location.name" . }}
{{- if ne .Release.Name $name }}
{{- fail (printf "The release of %s is called %s, not %s: a location has one release." .Values.location $name .Release.Name) }}
{{- end }}
{{- $namespace := .Release.Namespace }}
{{- if lookup "v1" "Namespace" "" $namespace }}
{{- $secret := printf "%s-credentials" $name }}
{{- if not (dig "data" "password" "" (default (dict) (lookup "v1" "Secret" $namespace $secret))) }}
{{- fail (printf "The Secret %s in the namespace %s has no key `password`, so %s has no role in Postgres. Add %s to `locations` of the platform's release; `make kubernetes-up` makes the Secret." $secret $namespace .Values.location .Values.location) }}
{{- end }}
{{- end }}
{{- end }}
