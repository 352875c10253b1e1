"""Workers and scheduler as Deployments of Kubernetes, jobs as CronJobs.

Using it: ``render(site, jobs)`` gives ``NAME.yaml``. Strings are written as JSON, which is
YAML, so that nothing in them means anything.

The probes cost no start of Django. Worker and scheduler ping a service manager, and the
probe is one for as long as it takes to hear them: a ping says that the loop which does the
work turns, and READY has been said. While the database is away a pod that was ready stays
so: to restart it would bring nothing back. Workers of other backends ping nobody, and have no
probes: one that ends is started again.

Raises nothing of its own.

Sources: kubernetes.io/docs/reference/kubernetes-api, robfig/cron (weekdays are 0 to 6, and
``*/2`` is no star; then either day field matches, which only fires more often).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from argus_maint.conf_jobs import Job
from argus_maint.units import zones
from argus_maint.units.calendar import cron_list, parse
from argus_maint.units.site import MARGIN, Site, comment, scheduler
from argus_maint.units.workers import Worker

LONGEST = 52  # a CronJob's name; the names of its pods are longer by 11
SOCKET = "/tmp/notify"  # noqa: S108  (an emptyDir of this pod)
PING = 4_000_000  # microseconds in which a ping must come
LISTEN = """\
import os, socket
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.settimeout(8)
path = os.environ["NOTIFY_SOCKET"]
if os.path.lexists(path):
    os.unlink(path)
ear.bind(path)
try:
    while b"WATCHDOG=1" not in ear.recv(4096):
        pass
finally:
    os.unlink(path)
"""


def word(text: str) -> str:
    """One string, in which ``$(X)`` is no variable."""
    return json.dumps(text.replace("$(", "$$("), ensure_ascii=False)


def render(site: Site, jobs: Iterable[Job]) -> dict[str, str]:
    """One file for ``kubectl apply -f``."""
    jobs = list(jobs)
    parts = []
    for each in site.workers:
        parts += [_deployment(site, each, site.replicas, site.stop_seconds), _budget(site, each)]
    parts.append(_deployment(site, scheduler(site), 1, 60))
    if site.one_line:
        what = f"All jobs that are due: {', '.join(job.name for job in jobs)}"
        parts.append(_cronjob(site, "tick", what, "* * * * *", "Etc/UTC", site.tick, None))
    else:
        parts += _cronjobs(site, jobs)
    return {f"{site.name}.yaml": _head(site) + "".join(f"---\n{part}" for part in parts)}


def _head(site: Site) -> str:
    secret = site.secret or f"{site.name}-env"
    return comment(f"""
argus_maint: workers and a scheduler as Deployments, jobs as CronJobs.

Where:    any namespace that has the image and a Secret {secret} with the environment:
          kubectl create secret generic {secret} --from-env-file=site.env
Install:  kubectl apply -f {site.name}.yaml
Look:     kubectl get deployments,cronjobs,pods -l app.kubernetes.io/part-of={site.name}
Twice:    the scheduler runs every job; the CronJobs do so without it. Both together are
          harmless, for a tick is claimed in the database. Leave out what you do not want.
Needs:    Kubernetes 1.27 (timeZone), and an image whose user is a number other than 0.
Memory:   with a limit, the kubelet has the kernel kill a whole container, the supervisor
          included (unless singleProcessOOMKill is set). db_worker --max-rss comes first.
""")


def _labels(site: Site, role: str) -> str:
    return (
        f'{{app.kubernetes.io/name: "{site.name}-{role}", '
        f'app.kubernetes.io/part-of: "{site.name}"}}'
    )


def _deployment(site: Site, worker: Worker, replicas: int, seconds: int) -> str:
    role, kind = worker.role, worker.kind
    labels = _labels(site, role)
    head = "" if kind.pings else comment(f"{kind.what}:\n{site.stopping(worker)}")
    return f"""\
{head}apiVersion: apps/v1
kind: Deployment
metadata:
  name: {site.name}-{role}
  labels: {labels}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {labels}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata:
      labels: {labels}
    spec:
      # TERM, then time for the tasks in hand, and only then KILL.
      terminationGracePeriodSeconds: {seconds}
{_pod(site, "      ")}
      containers:
        - name: {role}
{_container(site, worker.command, "          ")}
{_probes(site) if kind.pings else ""}"""


def _probes(site: Site) -> str:
    """What follows the variables of a container that pings."""
    return f"""\
            # Where it says that it is alive; only a probe listens.
            - {{name: NOTIFY_SOCKET, value: "{SOCKET}"}}
            - {{name: WATCHDOG_USEC, value: "{PING}"}}
          # Ready when it says so: its tables are there and the database answers. It waits for
          # that by itself; after ten minutes the pod starts again, so that it is seen.
          startupProbe:
{_probe(site, 60)}
          # Three silent minutes: its loop has stopped.
          livenessProbe:
{_probe(site, 6)}
"""


def _probe(site: Site, failures: int) -> str:
    lines = "".join(f"                {line}\n" for line in LISTEN.splitlines())
    return f"""\
            exec:
              command:
              - {word(site.python)}
              - "-ISc"
              - |
{lines}\
            periodSeconds: {10 if failures > 10 else 30}
            timeoutSeconds: 10
            failureThreshold: {failures}"""


def _pod(site: Site, indent: str) -> str:
    user = f", runAsUser: {site.user}" if site.user.isdigit() else ""
    return _indented(
        f"""\
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{runAsNonRoot: true{user}, seccompProfile: {{type: RuntimeDefault}}}}
volumes:
  - {{name: tmp, emptyDir: {{}}}}""",
        indent,
    )


def _container(site: Site, command: tuple[str, ...], indent: str) -> str:
    """What a container has, its variables last, so that more can follow."""
    words = "\n".join(f"  - {word(each)}" for each in site.words(command))
    secret = site.secret or f"{site.name}-env"
    variables = '\n  - {name: PYTHONUNBUFFERED, value: "1"}'
    if site.settings:
        variables += f"\n  - {{name: DJANGO_SETTINGS_MODULE, value: {word(site.settings)}}}"
    return _indented(
        f"""\
image: {json.dumps(site.image)}
command:
{words}
workingDir: {json.dumps(site.folder, ensure_ascii=False)}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {{drop: ["ALL"]}}
resources:
  requests: {{cpu: 100m, memory: 256Mi}}
volumeMounts:
  - {{name: tmp, mountPath: /tmp}}
envFrom:
  - secretRef: {{name: {json.dumps(secret)}}}
env:{variables}""",
        indent,
    )


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.splitlines())


def _budget(site: Site, worker: Worker) -> str:
    return f"""\
# A node that is drained takes one worker pod at a time.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {site.name}-{worker.role}
  labels: {_labels(site, worker.role)}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {_labels(site, worker.role)}
"""


def _cronjobs(site: Site, jobs: list[Job]) -> list[str]:
    parts, taken = [], {"worker", "scheduler", *(each.role for each in site.workers)}
    for job in jobs:
        name = _name(site, job.name, taken)
        taken.add(name)
        what = f"{job.name}: {job.summary}"
        zone = job.schedule.zone
        zone = "Etc/UTC" if zone == "UTC" else zone
        parts.append(
            _cronjob(site, name, what, schedule(job), zone, site.run(job.name), job.time_limit)
        )
    return parts


def _name(site: Site, job: str, taken: set[str]) -> str:
    """A name of letters, digits and hyphens, that no other job has."""
    name, room = job.replace("_", "-").rstrip("-"), LONGEST - len(site.name) - 1
    if name in taken or len(name) > room:
        digest = hashlib.sha256(job.encode()).hexdigest()[:6]
        name = f"{name[: room - 7].rstrip('-')}-{digest}"
    return name


def schedule(job: Job) -> str:
    """An expression that Kubernetes takes, among whose times is every tick of a job."""
    fields = parse(job.schedule.expression)
    wide = zones.over_gaps(fields, job.schedule.zone)
    parts = job.schedule.expression.split()
    if wide.hours != fields.hours:
        parts[1] = cron_list(wide.hours)
    if wide.days != fields.days or wide.weekdays != fields.weekdays:
        parts[2:] = ["*", "*", "*"]
    if parts[4] != "*":
        parts[4] = cron_list(fields.weekdays)  # without 7, which it refuses
    return " ".join(parts)


def _cronjob(
    site: Site,
    name: str,
    what: str,
    when: str,
    zone: str,
    command: tuple[str, ...],
    limit: float | None,
) -> str:
    deadline = f"\n      activeDeadlineSeconds: {int(limit) + MARGIN}" if limit else ""
    labels = _labels(site, name)
    return f"""\
{comment(what)}apiVersion: batch/v1
kind: CronJob
metadata:
  name: {site.name}-{name}
  labels: {labels}
spec:
  schedule: {json.dumps(when)}
  timeZone: {json.dumps(zone)}
  concurrencyPolicy: Forbid
  # As late as that it is still started. Without it older clusters give up after 100 misses.
  startingDeadlineSeconds: 600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      # A failed run keeps its tick: a second pod would find nothing due, and look like success.
      backoffLimit: 0
      ttlSecondsAfterFinished: 86400{deadline}
      template:
        metadata:
          labels: {labels}
        spec:
          restartPolicy: Never
{_pod(site, "          ")}
          containers:
            - name: job
{_container(site, command, "              ")}
"""
