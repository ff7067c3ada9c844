from django.db import models

from config.tenancy.models.base import Row


class StoredAnswer(Row):
    """The first successful answer to a write, kept to be given again.

    Written in the transaction of the effect, so that neither exists without the
    other. The scope is the caller: the same key of another realm, caller, bound
    account or user, or route is a different request. `identity_hash` stands for all
    of these: as text they may be longer than what an index holds.
    """

    realm = models.ForeignKey(
        "tenancy.Realm", models.PROTECT, related_name="+", db_index=False
    )
    caller = models.TextField()
    binding = models.TextField(blank=True, default="")
    method = models.TextField()
    path = models.TextField()
    key = models.TextField()
    identity_hash = models.BinaryField()
    request_hash = models.BinaryField()
    status = models.SmallIntegerField()
    body = models.BinaryField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "stored_answers"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "identity_hash"],
                name="stored_answer_once_per_request",
            ),
            models.CheckConstraint(
                name="stored_answer_is_a_success",
                condition=models.Q(status__gte=200, status__lt=300),
            ),
        ]
        indexes = [models.Index(fields=["expires_at"], name="stored_answers_by_expiry")]

    def __str__(self) -> str:
        return f"{self.realm_id} {self.method} {self.path} {self.key}"
