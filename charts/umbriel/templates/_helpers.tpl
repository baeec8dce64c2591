{{/* The name of what this release makes: its own, with "umbriel" in it once. */}}
{{- define "umbriel.name" -}}
{{- $name := contains "umbriel" .Release.Name | ternary .Release.Name (printf "%s-umbriel" .Release.Name) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Labels of everything. */}}
{{- define "umbriel.labels" -}}
app.kubernetes.io/name: umbriel
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* Labels by which the operator's pods are found. */}}
{{- define "umbriel.operatorSelector" -}}
app.kubernetes.io/name: umbriel
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* The image. */}}
{{- define "umbriel.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{/* What every pod of ours keeps to. */}}
{{- define "umbriel.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* And every container. */}}
{{- define "umbriel.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What `helm test` makes goes when the test is over; the argument says in which order it comes. */}}
{{- define "umbriel.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* What the operator may do with objects, their status and what it owns. */}}
{{- define "umbriel.operatorRules" -}}
- apiGroups: [umbriel.dev]
  resources:
    - umautoattendants
    - umcallrouters
    - umdialplans
    - umhuntgroups
    - umipgateways
    - ummailboxes
    - ummailboxpolicies
    - umservices
  verbs: [list, watch]
- apiGroups: [umbriel.dev]
  resources:
    - umhuntgroups
    - ummailboxpolicies
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [umbriel.dev]
  resources:
    - umautoattendants/status
    - umcallrouters/status
    - umdialplans/status
    - umhuntgroups/status
    - umipgateways/status
    - ummailboxes/status
    - ummailboxpolicies/status
    - umservices/status
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
# Those that were made go when nobody wants any.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, {{ .Values.networkPolicy.enabled | ternary "create, patch" "delete" }}]
{{- end }}
