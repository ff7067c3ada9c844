from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """What exists and what it costs: families, features, meters and their prices."""

    name = "catalog"
    verbose_name = "Catalog"
