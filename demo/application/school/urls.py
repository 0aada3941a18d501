from django.urls import path

from school import views

urlpatterns = [
    path("", views.index),
    path("health", views.health),
    path("api/students", views.students),
    path("slow", views.slow),
]
